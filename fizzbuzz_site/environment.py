"""The environment variables that the service is configured by, and those that it ignores."""

from __future__ import annotations

import os
import re
from typing import Any

from environs import FileAwareEnv


class Environment(FileAwareEnv):
    """Environment variables, each of which may come from a file that NAME_FILE names. An empty one counts as unset."""

    def __init__(self) -> None:
        super().__init__(strip_whitespace=True)

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except OSError as error:
            raise ValueError(f"The value of {env_key}_FILE must be a readable file path ({error.strerror}).") from error
        return default if isinstance(value, str) and not value.strip() else value


def remove_libpq_variables(*, embedded: bool) -> None:
    """Remove the variables by which libpq would connect elsewhere, or otherwise, than DATABASE_URL says.

    Those for a password and for encryption stay, but not for the embedded server, which has neither.
    """
    kept = r"PG(PASS|SSL|GSS|KRB|REQUIRE|CHANNELBINDING|M(IN|AX)PROTOCOL)" if not embedded else r"(?!)"
    for name in [*os.environ]:
        if re.match(r"PG[A-Z]", name) and not re.match(kept, name):
            del os.environ[name]
