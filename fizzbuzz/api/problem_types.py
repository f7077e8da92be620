"""The problem types of the API (RFC 9457), as listed at /docs/problems."""

from __future__ import annotations

from typing import NamedTuple


class ProblemType(NamedTuple):
    slug: str
    status: int
    title: str
    description: str


# If a status has several types, the first is its default.
PROBLEM_TYPES = [
    ProblemType(
        "bad-request",
        400,
        "Bad Request",
        "The request is invalid, and recorded nothing. If members of the body or parameters are invalid, errors lists "
        "each of them and says what is accepted.",
    ),
    ProblemType(
        "not-found",
        404,
        "Not Found",
        "There is nothing at this URL: an id that does not exist, not a valid number, an invalid cursor, or an unknown "
        "URL.",
    ),
    ProblemType(
        "method-not-allowed",
        405,
        "Method Not Allowed",
        "This URL does not support the method; the header Allow lists those it supports. Submissions cannot be changed "
        "or deleted.",
    ),
    ProblemType(
        "not-acceptable",
        406,
        "Not Acceptable",
        "The header Accept does not allow JSON or HTML. This request recorded nothing.",
    ),
    ProblemType(
        "request-timeout",
        408,
        "Request Timeout",
        "The body was incomplete or arrived too slowly. This request recorded nothing; send it again.",
    ),
    ProblemType(
        "key-in-progress",
        409,
        "Key In Progress",
        "Another request with the same Idempotency-Key is still in progress. Try again with the same key in a moment.",
    ),
    ProblemType(
        "length-required",
        411,
        "Length Required",
        "The request needs the header Content-Length. This request recorded nothing.",
    ),
    ProblemType(
        "content-too-large",
        413,
        "Content Too Large",
        "The body exceeds the size given in detail. This request recorded nothing; split it into smaller requests.",
    ),
    ProblemType(
        "unsupported-media-type",
        415,
        "Unsupported Media Type",
        "This URL does not support the Content-Type, charset or Content-Encoding of the body. This request recorded "
        "nothing; send application/json in UTF-8.",
    ),
    ProblemType(
        "key-reused",
        422,
        "Key Reused",
        "This Idempotency-Key was already used with a different body. This request recorded nothing; use a new key for "
        "each request.",
    ),
    ProblemType(
        "too-many-requests",
        429,
        "Too Many Requests",
        "Rate limit exceeded (see RateLimit-Policy), or too many expensive requests at the same time. Nothing was "
        "recorded; try again after the number of seconds in Retry-After.",
    ),
    ProblemType(
        "internal-error",
        500,
        "Internal Server Error",
        "Something failed in the service. If it persists, contact the operator.",
    ),
    ProblemType(
        "unavailable",
        503,
        "Service Unavailable",
        "The database is unavailable or busy, or the counts are catching up with the log; see detail. Try again after "
        "the number of seconds in Retry-After.",
    ),
    ProblemType(
        "not-recorded",
        503,
        "Not Recorded",
        "This request recorded nothing: the database is unavailable, busy, or out of memory or disk space. "
        "Try again after the number of seconds in Retry-After. An earlier request with the same Idempotency-Key may "
        "have been recorded.",
    ),
    ProblemType(
        "outcome-unknown",
        503,
        "Outcome Unknown",
        "The database did not confirm that it stored the submission, which may or may not have been recorded. "
        "If you send it again, it may count twice; with the same Idempotency-Key, it counts once.",
    ),
]

BY_SLUG = {each.slug: each for each in PROBLEM_TYPES}
BY_STATUS = {each.status: each for each in reversed(PROBLEM_TYPES)}
