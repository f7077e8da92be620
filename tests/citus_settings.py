"""The tests' settings for a log that is distributed already: they use the database itself, and no copy of it."""

from tests.settings import *  # noqa: F403 - all of them
from tests.settings import DATABASES

DATABASES["default"]["TEST"] = {"NAME": DATABASES["default"]["NAME"]}
