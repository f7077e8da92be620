"""Password hashing that does not block the event loop."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.db.pool import release_connection
from fizzbuzz.gevent_patch import GEVENT

if GEVENT:
    from gevent import get_hub

NICENESS = 10  # of the hashing thread, so that the threads of requests have priority
PAUSE_RATIO = 2  # seconds until the next hash may begin, per second of the last one

hashing = Bulkhead("passwords are being checked", limit=1, wait_seconds=5)


class PasswordHasher(PBKDF2PasswordHasher):
    """Django's default hasher, limited to one hash (0.6 s of CPU) at a time and a third of a core per process.

    Raises Busy. A gevent worker hashes in a native thread, which releases the GIL.
    """

    _next_start: ClassVar[float] = 0.0  # time.monotonic()

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        release_connection()  # a waiting login must not hold a pooled connection
        with hashing.slot():
            time.sleep(max(0.0, self._next_start - time.monotonic()))
            begun = time.monotonic()
            if GEVENT:
                arguments = (super().encode, password, salt, iterations)
                hashed: str = get_hub().threadpool.apply(_hash_at_low_priority, arguments)
            else:
                hashed = super().encode(password, salt, iterations)
            PasswordHasher._next_start = time.monotonic() + PAUSE_RATIO * (time.monotonic() - begun)
            return hashed


def _hash_at_low_priority(encode: Callable[..., str], *arguments: object) -> str:
    if sys.platform == "linux":  # other systems have one priority per process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    return encode(*arguments)
