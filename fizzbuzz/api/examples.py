"""The examples in the OpenAPI document. A test sends them and compares the responses."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from fizzbuzz.api.serializers import INTEGER

_FIFTEEN = {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz"}

SUBMIT = OpenApiExample("Fifteen", {"number": 15}, request_only=True)
SUBMISSION = OpenApiExample(
    "Fifteen, recorded",
    {"id": 1, **_FIFTEEN, "created_at": "2026-01-31T12:00:00.123456Z"},
    response_only=True,
)
BATCH = OpenApiExample("One number of each kind", {"numbers": [3, 5, 15, 7]}, request_only=True)
NUMBER = OpenApiExample("Fifteen, sent twice", {**_FIFTEEN, "count": 2}, response_only=True)
MOST_COMMON = OpenApiExample(
    "Fifteen, most common",
    {**_FIFTEEN, "count": 2},  # drf-spectacular wraps it in a list
    response_only=True,
)

NUMBER_PARAMETER = OpenApiParameter("number", INTEGER, OpenApiParameter.PATH, description="A whole number.")
KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r'^("[!#-~]{1,255}"|[!#-+\--~]{1,255})$'},
    OpenApiParameter.HEADER,
    description=(
        "A request that is repeated with the same key within 24 hours is recorded once: the response is that of the "
        "first request, with the header `Idempotency-Replayed`. Use a random key: anyone who knows a key can read "
        "what was recorded with it."
    ),
)
