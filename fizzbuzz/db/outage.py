"""One log line when requests or folds begin to fail because of the database, and one when they succeed again."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Literal

log = logging.getLogger(__name__)

Kind = Literal["reads", "writes", "folds"]


class Outage:
    """What failed last time in this process, such as reads. It works again after its next success."""

    def __init__(self) -> None:
        self._failing: set[Kind] = set()
        self._since = 0.0

    def begin(self, kind: Kind, cause: BaseException, *, traceback: bool = False) -> None:
        if not self._failing:
            self._since = monotonic()
            log.error("The database fails: %s", " ".join(str(cause).split()), exc_info=cause if traceback else None)
        self._failing.add(kind)

    def end(self, kind: Kind) -> None:
        if kind in self._failing:
            self._failing.remove(kind)
            if not self._failing:
                log.warning("The database works again, after %.0f s", monotonic() - self._since)


outage = Outage()
