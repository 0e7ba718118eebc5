"""Every block of docs/install.md runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs import pages
from tests.package.host import Host
from tests.package.wheels import wheel
from tests.server.test_systemd import need_optional
from tests.support import ROOT, need

PAGE = "docs/install.md"
UNITS = "etc/systemd/system"
# Blocks that this test does not run, and who does.
ELSEWHERE = {
    "make run\n": "installs from the network; `.ci/run` starts with it on a new machine",
    "pipx install ./": "tried by hand: pipx is not installed",
    "uv tool install ./": "tried by hand: uv is not installed",
    "datafor-token serve\n": "tests/package/test_installed.py",
    "make wheel\npodman build": "tests/package/test_container.py runs the steps of the Containerfile",
    "podman compose up": "the same",
}


def take(blocks: list[str], start: str) -> str:
    """Remove the first block, which starts with a text, and return it."""
    assert blocks[0].startswith(start), (blocks[0], start)
    return blocks.pop(0)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    shutil.copy(wheel(), host.home)
    shutil.copy(ROOT / "requirements.txt", host.home)
    for file in (ROOT / "config").glob("datafor-token*"):
        host.copy(file)
    host.copy(ROOT / "config" / "logrotate.conf")
    return host


@pytest.mark.slow
def test_every_block(host: Host) -> None:
    """The steps of the page install the package under systemd, with settings, backups and log rotation."""
    need("curl")
    need("logrotate", Path("/usr/sbin/logrotate"))
    blocks = [block for block in pages.blocks(PAGE, "sh") if not block.startswith(tuple(ELSEWHERE))]

    host.run(take(blocks, "python3 -m venv datafor "))
    assert (host.home / "datafor/bin/datafor-token").exists()

    host.run(take(blocks, "useradd "))
    host.run(take(blocks, "python3 -m venv /opt/datafor_token"))
    host.run(take(blocks, "cp datafor-token.service"))
    assert host.systemctl() == ["daemon-reload", "enable --now datafor-token"]
    server = host.start()
    assert server.port, server.output
    host.run(take(blocks, "cat > /usr/local/sbin"))
    from_cron = {**host.environ, "PATH": "/usr/bin:/bin"}
    command = [str(host.root / "usr/local/sbin/datafor-token"), "user", "list"]
    # The user of the service does not exist here, so runuser refuses; a program that is not found would be 127.
    assert subprocess.run(command, env=from_cron, capture_output=True, check=False).returncode == 1
    check = take(blocks, "curl ")
    shown = host.run(check.replace("28080", str(server.port)))
    password = (server.config_dir / "initial_admin_password").read_text().strip()
    assert '"success":true' in shown
    assert password in shown
    assert "Administrator" in shown

    host.run(take(blocks, "cd /var/lib/datafor_token/config"))
    assert "URL_PREFIX" in (server.config_dir / "settings.toml").read_text()
    assert host.systemctl() == ["restart datafor-token"]

    host.run(take(blocks, "mkdir -p /etc/systemd/system/datafor-token.service.d"))
    assert host.systemctl() == ["daemon-reload", "restart datafor-token"]
    verify(host)

    host.run(take(blocks, "install -d -m 0700"))
    assert host.systemctl()[1:] == [
        "enable --now datafor-token-backup.timer",
        "start datafor-token-backup.service",
    ]
    verify(host)

    # The user of the service does not exist here.
    rotation = host.home / "logrotate.conf"
    rotation.write_text(rotation.read_text().replace("su datafor_token datafor_token", "su root root"))
    host.run(take(blocks, "cp logrotate.conf"))
    assert blocks == []
    assert server.stop() == 0


def verify(host: Host) -> None:
    """Let systemd read the units, with their drop-ins, as they are on the host now."""
    need_optional("systemd-analyze")
    units = sorted(str(path) for path in (host.root / UNITS).glob("*.*") if path.is_file())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env={**host.environ, "SYSTEMD_UNIT_PATH": f"{host.root / UNITS}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_blocks_elsewhere() -> None:
    """Each block that the test of this page leaves to another exists once."""
    shown = pages.blocks(PAGE, "sh")
    assert [sum(block.startswith(one) for block in shown) for one in ELSEWHERE] == [1] * len(ELSEWHERE)
