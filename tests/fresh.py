"""A clock for the results that a process keeps for a while."""

import time

from fizzbuzz import shared_calls
from fizzbuzz.pages import views

_seconds_ahead = 0.0


def later(seconds: float) -> None:
    """Let the results of all SharedCalls become older, as a wait would."""
    global _seconds_ahead  # noqa: PLW0603 - there is one clock
    _seconds_ahead += seconds


def a_second_later() -> None:
    """Expire all kept results."""
    later(5)
    views._render_number.cache_clear()
    views._render_frame.cache_clear()


shared_calls.clock = lambda: time.monotonic() + _seconds_ahead
