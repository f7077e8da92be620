"""Parse the times that clients and operators give. Pure: no Django, no I/O."""

import re
from datetime import MAXYEAR, UTC, datetime, timedelta

EXPECTED = "Enter a time as in RFC 3339, such as 2026-01-31 or 2026-01-31T12:00:00Z."
REVERSED = "since is after until."

# A time of RFC 3339, or a part of one: the offset, the seconds and the time of day may be missing.
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?", re.ASCII | re.IGNORECASE
)
_PLUS_AS_SPACE = re.compile(r".*\d \d\d:?\d\d", re.ASCII)


class InvalidTime(ValueError):
    """The text is not a time. The message says why, and what is accepted."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"{reason} {EXPECTED}".lstrip())


def parse_time(text: str) -> datetime:
    """Return a time in UTC; without an offset, the text is in UTC, too.

    A leap second is the second after it. Of a time that is outside of the years 1 to 9999 in UTC, return the nearest.
    """
    if not _TIME.fullmatch(text):
        if _PLUS_AS_SPACE.fullmatch(text):
            raise InvalidTime("In a URL, + is decoded as a space: write %2B, as in 2026-01-31T12:00:00%2B01:00.")
        raise InvalidTime("A number of seconds or milliseconds is not a time." if text.isdecimal() else "")
    leap = text[16:19] == ":60"
    try:
        time = datetime.fromisoformat(f"{text[:17]}59{text[19:]}".upper() if leap else text.upper())
    except ValueError as error:
        raise InvalidTime(f"There is no such time: {error}.") from None
    try:
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC) + timedelta(seconds=leap)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if time.year == MAXYEAR else datetime.min.replace(tzinfo=UTC)
