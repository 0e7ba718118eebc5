"""``datafor-token serve``."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import ROOT, Server


def test_from_an_empty_folder(tmp_path: Path) -> None:
    """In an empty folder the command creates everything, listens at the given address, and stops at SIGTERM."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DATAFOR_TOKEN_")}
    command = [
        sys.executable, "-m", "datafor_token", "serve", "--bind", "127.0.0.1:0", "--workers", "1", "--threads", "4",
        "--config", "c", "--data", "d",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    output = ""
    for line in process.stderr:
        output += line
        if "Booting worker" in line:
            break
    process.send_signal(signal.SIGTERM)
    output += process.stderr.read()
    assert process.wait() == 0, output
    process.stderr.close()
    assert output.count("Booting worker") == 1
    assert re.search(r"Listening at: http://127\.0\.0\.1:[1-9]", output)
    assert {one.name for one in tmp_path.iterdir()} == {"c", "d"}
    assert (tmp_path / "c" / "initial_admin_password").exists()
    assert (tmp_path / "d" / "users" / "admin.json").exists()


def test_the_file_of_a_checkout(tmp_path: Path) -> None:
    """``gunicorn -c config/gunicorn.conf.py wsgi:app`` serves with the same settings."""
    server = Server(tmp_path).start()
    assert server.request("GET", "/healthz").status == 200
    assert server.stop() == 0


def test_no_code_of_the_current_folder(tmp_path: Path) -> None:
    """The server imports nothing from the current folder, at its start or when SIGUSR2 starts it a second time."""
    folder = tmp_path / "of_others"
    folder.mkdir()
    for name in ("click", "datafor_token", "flask", "gunicorn", "gunicorn.conf", "json", "setproctitle", "wsgi"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    installed = tmp_path / "datafor-token"
    installed.write_text("from datafor_token.cli.main import main\nmain()\n")
    server = Server(tmp_path, PYTHONPATH=str(ROOT))
    server.folder, server.command = folder, [sys.executable, installed, "serve"]
    server.start()
    assert server.process.poll() is None, server.output
    server.process.send_signal(signal.SIGUSR2)
    while server.output.count("Listening at") < 2:
        assert "Error" not in server.output, server.output
        time.sleep(0.05)
    assert "imported" not in server.output
    server.stop(signal.SIGKILL)
