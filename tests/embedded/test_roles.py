"""The service's database role owns its database and has no other privileges."""

from pathlib import Path

import psycopg

from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, Server
from tests.embedded.users import connect
from tests.service import manage

RIGHTS = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword IS NOT NULL
    FROM pg_authid WHERE rolcanlogin ORDER BY rolname
"""
OWNERS = (
    "SELECT datname::text, pg_get_userbyid(datdba)::text FROM pg_database WHERE datname IN ('fizzbuzz', 'postgres')"
)


def as_superuser(server: Server, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(host=server.acquire(), user=SUPERUSER, dbname=DATABASE) as database:
        return database.execute(query).fetchall()


def test_service_has_an_ordinary_role(data_dir: Path) -> None:
    assert manage("migrate", "--verbosity=0", DATA_DIR=str(data_dir / "new")).communicate() == ("", "")
    server = Server(data_dir / "new")

    try:
        assert as_superuser(server, RIGHTS) == [
            ("fizzbuzz", False, False, False, False, False, False),
            ("postgres", True, True, True, True, True, False),
        ]
        assert sorted(as_superuser(server, OWNERS)) == [("fizzbuzz", USER), ("postgres", SUPERUSER)]
    finally:
        server.release()


def test_superuser_of_an_earlier_version_is_demoted(data_dir: Path) -> None:
    server = Server(data_dir / "old")
    cluster = server.home / "data"
    cluster.mkdir(parents=True)
    server.home.chmod(0o711)
    server.programs.chown(cluster)
    statements = (
        "CREATE TABLE public.fizzbuzz_submission (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, number bigint);\n"
        "INSERT INTO public.fizzbuzz_submission (number) VALUES (15);\n"
        f"ALTER ROLE {USER} PASSWORD 'kept';\n"
    )
    run = server.programs.run
    assert (
        run("initdb", "-D", ".", "-U", USER, "--auth=trust", "--locale=C", "--encoding=UTF8", cwd=cluster).returncode
        == 0
    )
    for name, script in (("postgres", f"CREATE DATABASE {DATABASE};\n"), (DATABASE, statements)):
        options = ("--single", "-D", ".", "-c", "exit_on_error=on", name)
        assert run("postgres", *options, cwd=cluster, stdin=script).returncode == 0

    try:
        for _ in range(2):  # the second start finds nothing to do
            assert as_superuser(server, RIGHTS) == [
                ("fizzbuzz", False, False, False, False, False, True),
                ("postgres", True, True, True, True, True, False),
            ]
            server.release()
        assert sorted(as_superuser(server, OWNERS)) == [("fizzbuzz", USER), ("postgres", SUPERUSER)]
        with connect(server.acquire()) as database:
            database.execute("INSERT INTO fizzbuzz_submission (number) VALUES (7)")
            database.execute("ALTER TABLE fizzbuzz_submission ADD COLUMN more int")
            rows = database.execute("SELECT id, number FROM fizzbuzz_submission ORDER BY id").fetchall()
        assert rows == [(1, 15), (2, 7)]
    finally:
        server.release()
