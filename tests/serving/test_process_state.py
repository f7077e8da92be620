"""What a service inherits from the process that starts it: standard streams and a working folder."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.service import ROOT, TIMEOUT_SECONDS, Service, eventually


def healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=TIMEOUT_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("redirections", ["", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_service_needs_no_stream_and_no_working_folder(data_dir: Path, tmp_path: Path, redirections: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reader, broken_pipe = os.pipe()
    os.close(reader)
    folder, errors = tmp_path / "deleted", tmp_path / "stderr"
    folder.mkdir()
    environment = {"PORT": str(port), "DATA_DIR": str(data_dir), "LOG_LEVEL": "warning"}
    with errors.open("wb") as stderr:
        served = subprocess.Popen(
            ["/bin/sh", "-c", f'rmdir "$PWD"; exec "$0" "$1" serve {redirections}', sys.executable, ROOT / "manage.py"],
            cwd=folder,
            env=environment,
            stdout=broken_pipe,
            stderr=stderr,
        )
    os.close(broken_pipe)

    assert eventually(lambda: healthy(port) or served.poll() is not None)
    served.terminate()
    assert (served.wait(TIMEOUT_SECONDS), errors.read_text()) == (0, "")


def test_reload_in_a_deleted_working_folder_is_rejected(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deleted"
    folder.mkdir()
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    monkeypatch.setattr(Service, "code", folder)
    service = Service(DATA_DIR=str(data_dir))
    shutil.rmtree(folder)

    service.process.send_signal(signal.SIGHUP)
    assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
    code, errors = service.stop()

    assert code == 0
    assert errors.count("Reload rejected") == 1
    assert f"No such file or directory: '{folder}'" in errors
