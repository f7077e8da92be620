"""What is no number, for every way in to refuse."""

from __future__ import annotations

REFUSED: list[object] = [
    15.5, 15.0, float("nan"), True, False, None, [], {}, b"15",
    "", " ", " 15", "15 ", "15\n", "1_000", "1,000", "0x10", "1e3", "15.0", "+", "-", "--1", "+-1", "٣", "１５", "²",
    "NaN", "∞", "1\x00", "\u202e15", "\ud800", 2**63, -(2**63) - 1, str(2**63), str(-(2**63) - 1), "9" * 10_000,
]  # fmt: skip
REFUSED_IN_JSON = [value for value in REFUSED if not isinstance(value, bytes)]
# A lone surrogate can't be sent as UTF-8.
REFUSED_AS_TEXT = [value for value in REFUSED if isinstance(value, str) and value != "\ud800"]
# The form trims spaces.
REFUSED_BY_FORM = [text for text in REFUSED_AS_TEXT if text.strip() != "15"]
