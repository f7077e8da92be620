"""Environment variables of libpq and gunicorn, and HOST for both IP versions."""

import re
from pathlib import Path

import psycopg
from psycopg.pq import Conninfo

from fizzbuzz_site.embedded.server import SUPERUSER, USER, Server
from tests.service import SECRET_KEY, Service, manage

# All of libpq's variables, including some that only its documentation lists, with values that break a connection.
LIBPQ = {each.envvar.decode(): "nonsense" for each in Conninfo.get_defaults() if each.envvar} | {
    "PGDATESTYLE": "nonsense",
    "PGTZ": "nonsense",
    "PGGEQO": "nonsense",
    "PGSERVICEFILE": "/nowhere",
    "PGSYSCONFDIR": "/nowhere",
    "PGPORT": "1",
    "PGHOSTADDR": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "standby",
}
# Set by gunicorn for a master that replaces another one.
GUNICORN = {"GUNICORN_PID": "1", "GUNICORN_FD": "0"}
EMPTY = {"DJANGO_SETTINGS_MODULE": "", "WEB_CONCURRENCY": ""}
# These are used with DATABASE_URL, for passwords and encryption that it does not contain.
KEPT = re.compile(r"PG(PASS|SSL|GSS|KRB|REQUIRE|CHANNELBINDING|M(IN|AX)PROTOCOL)")


def test_service_ignores_others_variables_and_listens_on_both_ip_versions(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir), HOST="::", **EMPTY, **GUNICORN, **LIBPQ)
    port = service.address.rpartition(":")[2]

    service.address = f"http://127.0.0.1:{port}"
    assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
    service.address = f"http://[::1]:{port}"
    assert service.request("/health").status == 200

    assert service.stop() == (0, "")


def test_database_url_overrides_libpq_variables_but_those_for_passwords(
    database_url: str, data_dir: Path, tmp_path: Path
) -> None:
    server = Server(data_dir)
    others = {name: value for name, value in LIBPQ.items() if not KEPT.match(name)}

    def migrate(**variables: str) -> tuple[str, str]:
        process = manage(
            "migrate", "--verbosity=0", DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY, HOME="/", **variables
        )
        return process.communicate()

    assert migrate(**others) == ("", "")

    with psycopg.connect(host=server.host, user=SUPERUSER, dbname="postgres", autocommit=True) as database:
        database.execute(f"ALTER ROLE {USER} PASSWORD 'a secret'")
        (server.home / "data/pg_hba.conf").write_text(f"local all {USER} scram-sha-256\nlocal all all trust\n")
        database.execute("SELECT pg_reload_conf()")
    passwords = tmp_path / "passwords"
    passwords.write_text("*:*:*:*:a secret\n")
    passwords.chmod(0o600)
    assert "fe_sendauth: no password supplied" in migrate()[1]
    assert migrate(PGPASSWORD="a secret") == migrate(PGPASSFILE=str(passwords)) == ("", "")
