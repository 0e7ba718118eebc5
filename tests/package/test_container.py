"""The steps of the Containerfile, run in a folder: there is no container engine here."""

import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datafor_token import __version__
from tests.package.host import Host, can_unshare
from tests.package.wheels import wheel
from tests.support import ROOT, Server

USER = "10001:10001"
TEXT = (ROOT / "Containerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
# A view of the file systems in which only the folder of the test can be written.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Containerfile with their arguments."""
    for line in TEXT.splitlines():
        if line and not line.startswith("#"):
            name, _, arguments = line.partition(" ")
            yield name, arguments


def last(name: str) -> str:
    """Return the arguments of the last instruction of a name."""
    return [arguments for one, arguments in instructions() if one == name][-1]


class Container(Host):
    """The file system and environment of the image, in a folder."""

    def __init__(self, root: Path, context: Path) -> None:
        super().__init__(root)
        (root / "stubs/python").symlink_to(sys.executable)
        if os.geteuid() == 0:
            (root / "stubs/install").unlink()
        self.image_environ: dict[str, str] = {}
        for name, arguments in instructions():
            if name == "RUN":
                self.run(arguments)
            elif name == "COPY":
                self._copy(context, arguments)
            elif name == "ENV":
                variable, _, value = arguments.partition("=")
                self.image_environ[variable] = self.inside(value).replace("$PATH", self.environ["PATH"])
            else:
                assert name in {"FROM", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}, name
        (root / "tmp").chmod(0o1777)

    def _copy(self, context: Path, arguments: str) -> None:
        *sources, target = arguments.split()
        if sources[0].startswith("--from="):
            # Both stages are in one folder.
            assert sources[1:] == [target]
            assert Path(self.inside(target)).exists()
            return
        for source in sources:
            found = glob.glob(str(context / source))  # noqa: PTH207 - the pattern has folders
            assert len(found) == 1, source
            shutil.copy(found[0], self.inside(target))

    def command(self, arguments: list[str]) -> list[str]:
        """Return a command as the container runs it. Only root can change the user and the view of the files."""
        if os.geteuid() != 0:
            return arguments
        user, group = USER.split(":")
        # With the right to read, as the interpreter of this test may be in root's folder; without the right to write.
        reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", *reading]
        view = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(self.root)] if can_unshare() else []
        return [*view, *become, *arguments]

    def files(self) -> set[Path]:
        """Return the files that exist now."""
        return {path for path in self.root.rglob("*") if path.is_file()}

    def health(self, port: int, **environ: str) -> int:
        """Run the health check and return its exit code."""
        check = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
        command = [word.replace("28080", str(port)) for word in check]
        return subprocess.run(
            self.command(command),
            env={**self.environ, **self.image_environ, **environ},
            check=False,
            capture_output=True,
        ).returncode


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    folder = tmp_path_factory.mktemp("container")
    context = folder / "context"
    (context / "dist").mkdir(parents=True)
    shutil.copy(wheel(), context / "dist")
    for name in ("requirements.txt", "requirements-sql.txt"):
        shutil.copy(ROOT / name, context)
    return Container(folder / "root", context)


@pytest.mark.slow
def test_it_serves_as_an_unprivileged_user(container: Container) -> None:
    """The image serves as its user on a read-only root with its two volumes; health check and commands work in it."""
    built = container.files()
    settings = {
        **container.image_environ,
        "DATAFOR_TOKEN_BIND": "127.0.0.1:0",
        "DATAFOR_TOKEN_URL_PREFIX": "/datafor",
        "DATAFOR_TOKEN_STORE": "",
        "DATAFOR_TOKEN_ADMIN_PASSWORD": "",
        "PYTHONPATH": str(container.dependencies),
        "TMPDIR": str(container.root / "tmp"),
    }
    server = Server(container.root, **settings)
    server.folder = container.root / last("WORKDIR").lstrip("/")
    server.command = list(container.command(json.loads(last("CMD"))))
    server.start()
    assert server.port, server.output
    assert container.health(server.port, DATAFOR_TOKEN_URL_PREFIX="/datafor") == 0
    assert container.health(server.port) == 1
    assert server.request("GET", "/datafor/console/sign-in", headers={}).status == 200
    listed = subprocess.run(
        container.command(["datafor-token", "user", "list"]),
        env={**container.environ, **container.image_environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "admin" in listed.stdout
    if os.geteuid() == 0:
        code = container.root / "opt/datafor_token/written"
        assert subprocess.run(container.command(["touch", str(code)]), capture_output=True, check=False).returncode == 1
    created = container.files() - built
    assert {path.relative_to(container.root).parts[0] for path in created} == {"config", "data", "tmp"}
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in created} == {10001}
    assert server.stop() == 0
    assert container.health(server.port, DATAFOR_TOKEN_URL_PREFIX="/datafor") == 1


def test_the_image_is_not_root() -> None:
    """The image runs as a number that is not 0, with both folders as volumes of that user."""
    assert last("USER") == USER
    assert json.loads(last("VOLUME")) == ["/config", "/data"]
    assert "install -d -m 0700 -o 10001 -g 10001 /config /data" in TEXT


def test_the_composition() -> None:
    """compose.yaml hardens the container, and has the image, health check, port and folders of the Containerfile."""
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]', "- /tmp:"):
        assert f"    {line}" in COMPOSE
    assert f"image: datafor_token:{__version__}\n" in COMPOSE
    options, _, command = last("HEALTHCHECK").partition(" CMD ")
    (test,) = re.findall(r"test: (\[.*\])$", COMPOSE, re.MULTILINE)
    assert json.loads(test) == ["CMD", *json.loads(command)]
    times = dict(re.findall(r"--(\S+)=(\w+)", options))
    assert dict(re.findall(r"^      (interval|timeout|start_period): (\w+)$", COMPOSE, re.MULTILINE)) == {
        name.replace("-", "_"): value for name, value in times.items()
    }
    assert f'"127.0.0.1:{last("EXPOSE")}:{last("EXPOSE")}"' in COMPOSE
    assert "DATAFOR_TOKEN_BIND=0.0.0.0:" + last("EXPOSE") in TEXT
    for folder in json.loads(last("VOLUME")):
        assert f"- {folder[1:]}:{folder}\n" in COMPOSE


def test_the_context() -> None:
    """The files that the Containerfile copies are those that .dockerignore leaves in the context."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, arguments in instructions()
        if name == "COPY" and not arguments.startswith("--from")
        for source in shlex.split(arguments)[:-1]
    }
    assert {f"{source.partition('/')[0]}/" if "/" in source else source for source in copied} == kept
