"""Production settings with short timeouts; a test's service uses them with tests.service.SHORT_DEADLINES."""

from fizzbuzz_site.serving import slow_clients
from fizzbuzz_site.settings import *  # noqa: F403 - all of them

slow_clients.CLIENT_TIMEOUT_SECONDS = 3
