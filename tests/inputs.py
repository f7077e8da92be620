"""Values that are not numbers."""

# For the parser, which all forms and endpoints use.
REJECTED: list[object] = [
    15.5, 15.0, float("nan"), True, False, None, [], {}, b"15",
    "", " ", " 15", "15 ", "15\n", "1_000", "1,000", "0x10", "1e3", "15.0", "+", "-", "--1", "+-1", "٣", "１５", "²",
    "NaN", "∞", "1\x00", "\u202e15", "\ud800", 2**63, -(2**63) - 1, str(2**63), str(-(2**63) - 1), "9" * 10_000,
]  # fmt: skip
# Two per form or endpoint, which Django's and DRF's own fields would accept.
REJECTED_IN_JSON: list[object] = [15.0, " 15"]
REJECTED_AS_TEXT = ["１５", " 15"]
REJECTED_BY_FORM = ["１５", "1_000"]  # it trims spaces
