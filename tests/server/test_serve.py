"""``datafor-token serve``."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import invoke
from tests.processes import environment, run
from tests.support import ROOT, Server, free_port


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


@pytest.mark.file_store
@pytest.mark.parametrize("kind", ["port", "IPv6 port", "variable", "socket", "folder", "host", "foreign address"])
def test_an_address_that_is_not_free(tmp_path: Path, kind: str) -> None:
    """An address at which nobody can listen is named in one line, and nothing is created."""
    path = tmp_path / "s.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as port6,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        listening.bind(str(path))
        listening.listen()
        address, fault = {
            "port": (f"127.0.0.1:{port.getsockname()[1]}", "Address already in use"),
            "variable": (f"0.0.0.0:{port.getsockname()[1]}", "Address already in use"),
            "IPv6 port": (f"[::1]:{port6.getsockname()[1]}", "Address already in use"),
            "socket": (f"unix:{path}", "another server uses it"),
            "folder": (f"unix:{tmp_path}/nowhere/s.sock", "its folder does not exist or cannot be written"),
            "host": ("nowhere.invalid:80", "not known"),
            "foreign address": ("192.0.2.1:80", "Cannot assign requested address"),
        }[kind]
        variable = {"DATAFOR_TOKEN_BIND": address} if kind == "variable" else {}
        done = subprocess.run(
            [sys.executable, "-m", "datafor_token", "serve", *([] if variable else ["--bind", address])],
            env={**environment(tmp_path), **variable}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert done.stderr.startswith(f"cannot listen at {address}: ")
        assert fault in done.stderr
        assert done.stderr.endswith("; choose another address with --bind or DATAFOR_TOKEN_BIND\n")
    assert [one.name for one in tmp_path.iterdir()] == ["s.sock"]


@pytest.mark.file_store
def test_a_free_address(tmp_path: Path) -> None:
    """A server starts at a socket that a killed server left, as the process of the command, with GUNICORN_CMD_ARGS."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    for bind, options in ((f"unix:{path}", ""), ("", "--bind 127.0.0.1:0 --workers 1"), ("127.0.0.1:0", "--bind 0:1")):
        process = subprocess.Popen(
            [sys.executable, "-m", "datafor_token", "serve", *(["--bind", bind] if bind else [])],
            env=environment(tmp_path, GUNICORN_CMD_ARGS=options), cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        listening = next(line for line in process.stderr if "Listening at" in line or "cannot" in line)
        assert f"({process.pid})" in listening
        assert (f"unix:{path}" if "unix" in bind else "http://127.0.0.1:") in listening
        process.kill()
        process.communicate()


@pytest.mark.file_store
@pytest.mark.parametrize("kind", ["port", "socket"])
def test_an_address_that_becomes_free(tmp_path: Path, kind: str) -> None:
    """A server starts although the workers of a killed one still listen: it waits until they have ended."""
    address = f"127.0.0.1:{free_port()}" if kind == "port" else f"unix:{tmp_path}/s.sock"
    for number in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "datafor_token", "serve", "--bind", address],
            env=environment(tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        waited_for = "Booting worker" if number == 0 else "Listening at"
        line = next(line for line in process.stderr if waited_for in line or "cannot" in line)
        assert waited_for in line
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.file_store
def test_a_folder_that_cannot_be_looked_into(tmp_path: Path) -> None:
    """A data folder that the system refuses is a sentence, not a traceback."""
    done = run("-c", "import wsgi", environ=environment(tmp_path, DATAFOR_TOKEN_DATA_DIR=f"{tmp_path}/{'x' * 300}"))
    assert (done.returncode, "exception" in done.stderr, "File name too long" in done.stderr) == (3, False, True)


def test_the_help_names_what_is_created() -> None:
    """The help of serve says what its first start creates."""
    text = " ".join(invoke(None, ["serve", "--help"]).stdout.split())
    assert all(one in text for one in ("config/ with the key", "data/ with the records", "initial_admin_password"))


def test_the_file_of_a_checkout(tmp_path: Path) -> None:
    """``gunicorn -c config/gunicorn.conf.py wsgi:app`` serves with the same settings."""
    server = Server(tmp_path).start()
    assert server.request("GET", "/healthz").status == 200
    assert server.stop() == 0


def test_make_run() -> None:
    """``make run`` starts gunicorn with ``config/gunicorn.conf.py``, whose own lines count."""
    done = subprocess.run(["make", "--dry-run", "run"], cwd=ROOT, capture_output=True, text=True, check=True)
    # Within ``make test``, make also prints the folder that it enters and leaves.
    assert "/python -m gunicorn -c config/gunicorn.conf.py wsgi:app\n" in done.stdout


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
