"""One log line when requests or folds begin to fail because of the database, and one when they succeed again."""

import logging
from time import monotonic
from typing import Literal

Kind = Literal["reads", "writes", "folds"]

log = logging.getLogger(__name__)
failing: dict[Kind, float] = {}  # time.monotonic() of the first failure since the last success


def begin(kind: Kind, cause: BaseException, *, traceback: bool = False) -> None:
    if not failing:
        log.error("The database fails: %s", " ".join(str(cause).split()), exc_info=cause if traceback else None)
    failing.setdefault(kind, monotonic())


def end(kind: Kind) -> None:
    since = failing.pop(kind, None)
    if since and not failing:
        log.warning("The database works again, after %.0f s", monotonic() - since)
