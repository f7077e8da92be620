"""The kinds of problems that the API tells of; /docs/problems explains each."""

from __future__ import annotations

from typing import NamedTuple


class ProblemType(NamedTuple):
    slug: str
    status: int
    title: str
    meaning: str


# The first of a status is the one for all that no other fits.
PROBLEM_TYPES = [
    ProblemType(
        "bad-request",
        400,
        "Bad Request",
        "What was sent can't be taken, and nothing was recorded. Where members or parameters are at fault, errors "
        "names each of them and says what is accepted.",
    ),
    ProblemType(
        "not-found",
        404,
        "Not Found",
        "There is nothing at this address: an id that was never given out, a number that is none, a page beyond the "
        "log, or an address that is none of the API's.",
    ),
    ProblemType(
        "method-not-allowed",
        405,
        "Method Not Allowed",
        "This address takes other methods; the header Allow names them. The log can't be changed or deleted.",
    ),
    ProblemType(
        "not-acceptable",
        406,
        "Not Acceptable",
        "The header Accept asks for something else than JSON or HTML. Nothing was recorded.",
    ),
    ProblemType(
        "request-timeout",
        408,
        "Request Timeout",
        "The body did not arrive whole and in time. Nothing was recorded; send it again.",
    ),
    ProblemType(
        "key-in-progress",
        409,
        "Key In Progress",
        "Another request with the same Idempotency-Key is not done yet. Send it again with the same key in a moment.",
    ),
    ProblemType(
        "length-required",
        411,
        "Length Required",
        "The body came without the header Content-Length, and this server reads no other. Nothing was recorded.",
    ),
    ProblemType(
        "content-too-large",
        413,
        "Content Too Large",
        "The body is larger than detail says. Nothing was recorded; send it in several.",
    ),
    ProblemType(
        "unsupported-media-type",
        415,
        "Unsupported Media Type",
        "The header Content-Type names none that this address reads. Nothing was recorded; send application/json.",
    ),
    ProblemType(
        "key-reused",
        422,
        "Key Reused",
        "The same Idempotency-Key came before with another body. Nothing was recorded; a key belongs to one request.",
    ),
    ProblemType(
        "too-many-requests",
        429,
        "Too Many Requests",
        "This client sent more than RateLimit-Policy allows, or too many requests that are costly to answer came at "
        "once. Nothing was recorded; send it again after the seconds that Retry-After names.",
    ),
    ProblemType(
        "internal-error",
        500,
        "Internal Server Error",
        "Something broke on our side. Sent again, it may break again: tell who runs this service.",
    ),
    ProblemType(
        "unavailable",
        503,
        "Service Unavailable",
        "The database is unavailable or busy, or the counts are catching up with the log: detail says which. Try again "
        "after the seconds that Retry-After names.",
    ),
    ProblemType(
        "not-recorded",
        503,
        "Not Recorded",
        "Nothing was recorded, for certain: the database is unavailable, busy, or out of memory or disk space. Send it "
        "again after the seconds that Retry-After names.",
    ),
    ProblemType(
        "outcome-unknown",
        503,
        "Outcome Unknown",
        "The database was lost between the submission and its answer: it was recorded, or not. Sent again, it may "
        "count twice; with the Idempotency-Key that it came with, it counts once.",
    ),
]

BY_SLUG = {each.slug: each for each in PROBLEM_TYPES}
BY_STATUS = {each.status: each for each in reversed(PROBLEM_TYPES)}
