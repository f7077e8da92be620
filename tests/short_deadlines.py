"""The settings of production with deadlines that a test can wait for; a service takes them with SHORT_DEADLINES."""

from __future__ import annotations

from fizzbuzz_site import slow_clients
from fizzbuzz_site.settings import *  # noqa: F403 - all of them

slow_clients.SECONDS = 3
