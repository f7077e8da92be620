"""Results that each process keeps for a second."""

from __future__ import annotations

from fizzbuzz.pages import stats, views
from fizzbuzz_site.http import info, metrics_endpoint, probes


def a_second_later() -> None:
    """Expire the kept results, as a wait of a second would."""
    for calls in (
        metrics_endpoint.gauges,
        info.server_version,
        probes.checks,
        views.first_page,
        stats.page,
        stats.files,
    ):
        calls._slots.clear()
    views._render_number.cache_clear()
    views._render_frame.cache_clear()
