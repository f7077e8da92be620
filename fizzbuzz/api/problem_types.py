"""The problem types of the API (RFC 9457), as listed at /docs/problems."""

from typing import NamedTuple


class ProblemType(NamedTuple):
    slug: str
    status: int
    description: str

    @property
    def title(self) -> str:
        return {"internal-error": "Internal Server Error", "unavailable": "Service Unavailable"}.get(
            self.slug, self.slug.replace("-", " ").title()
        )


# Status, slug and description. If a status has several types, the first is its default.
_TABLE = {
    "400 bad-request": "The request is invalid, and recorded nothing. If members of the body or parameters are "
    "invalid, errors lists each of them and says what is accepted.",
    "404 not-found": "There is nothing at this URL: an id that does not exist, not a valid number, an invalid cursor, "
    "or an unknown URL.",
    "405 method-not-allowed": "This URL does not support the method; the header Allow lists those it supports. "
    "Submissions cannot be changed or deleted.",
    "406 not-acceptable": "The header Accept does not allow JSON or HTML. This request recorded nothing.",
    "408 request-timeout": "The body was incomplete or arrived too slowly. This request recorded nothing; send it "
    "again.",
    "409 key-in-progress": "Another request with the same Idempotency-Key is still in progress. Try again with the "
    "same key in a moment.",
    "411 length-required": "The request needs the header Content-Length. This request recorded nothing.",
    "412 precondition-failed": "The condition in the header If-Match or If-Unmodified-Since is not met.",
    "413 content-too-large": "The body exceeds the size given in detail. This request recorded nothing; split it into "
    "smaller requests.",
    "415 unsupported-media-type": "This URL does not support the Content-Type, charset or Content-Encoding of the "
    "body. This request recorded nothing; send application/json in UTF-8.",
    "422 key-reused": "This Idempotency-Key was already used with a different body. This request recorded nothing; use "
    "a new key for each request.",
    "429 too-many-requests": "Rate limit exceeded (see RateLimit-Policy), or too many expensive requests at the same "
    "time. Nothing was recorded; try again after the number of seconds in Retry-After.",
    "500 internal-error": "Something failed in the service. If it persists, contact the operator.",
    "503 unavailable": "The database is unavailable or busy, or the counts are catching up with the log; see detail. "
    "Try again after the number of seconds in Retry-After.",
    "503 not-recorded": "This request recorded nothing: the database is unavailable, busy, or out of memory or disk "
    "space. Try again after the number of seconds in Retry-After. An earlier request with the same Idempotency-Key may "
    "have been recorded.",
    "503 outcome-unknown": "The database did not confirm that it stored the submission, which may or may not have been "
    "recorded. If you send it again, it may count twice; with the same Idempotency-Key, it counts once.",
}

PROBLEM_TYPES = [ProblemType(key[4:], int(key[:3]), description) for key, description in _TABLE.items()]
BY_SLUG = {each.slug: each for each in PROBLEM_TYPES}
BY_STATUS = {each.status: each for each in reversed(PROBLEM_TYPES)}
