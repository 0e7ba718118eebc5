"""The page about backups: each of its steps leads to what it says."""

import gzip
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datafor_token.crypto.at_rest import load_keys
from datafor_token.operations import backup
from tests.docs import pages
from tests.handmade_tokens import token
from tests.lifecycle.host import ME, Host, block, blocks_without_test, signs_in, user_of
from tests.support import key_for, private_pem, public_pem

pytestmark = [pytest.mark.file_store, pytest.mark.slow]

PASSWORD = "a-Password-of-the-old-host"
LENAS = "a-Password-of-lena"
LOGIN = "/plugin/datafor/api/extension/auth/login"
# What the page names, and the tests have in their folder.
HERE = {"/var/backups/datafor_token/records.gz": "datafor_token.gz"}


def page(containing: str, language: str = "sh") -> str:
    return block("backup", containing, language)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what an administrator keeps: the backup and the key, and a token of lena."""
    host = Host(tmp_path_factory.mktemp("old"))
    host.first_start()
    host.done(
        f"""
        echo {PASSWORD} | datafor-token user passwd admin
        datafor-token application add ERP --random-secret --inituser 1
        echo {LENAS} | datafor-token user add lena --type SYS_Creator --role Sales
        echo {LENAS} | datafor-token user add "Łukasz O'Neil.2@x/y" --type SYS_Reader
        datafor-token token generate ERP --username lena > token.txt
        """
    )
    (host.folder / "public.pem").write_text(public_pem(key_for("ES256")))
    (host.folder / "private.pem").write_text(private_pem(key_for("ES256")))
    host.done("datafor-token application add CRM --algorithm ES256 --secret-file public.pem")
    host.done(page("store backup /var/"), HERE)
    kept = tmp_path_factory.mktemp("kept")
    for path in ("datafor_token.gz", "config/secret_key", "token.txt", "public.pem", "private.pem"):
        shutil.copy(host.folder / path, kept)
    return kept


@pytest.fixture
def new(kept: Path, tmp_path: Path) -> Host:
    """Return a new host with the files that were kept, without ``config/`` and ``data/``."""
    shutil.copytree(kept, tmp_path / "new")
    return Host(tmp_path / "new")


@pytest.fixture
def restored(new: Host) -> Host:
    """Return the new host after the restore."""
    new.done(page("mkdir -p -m 700 config\n"))
    new.done(page("datafor_token.gz --yes\ndatafor-token store check"))
    return new


def test_on_a_new_host(new: Host, kept: Path) -> None:
    """With the backup and the key alone, users sign in with their passwords, and tokens and secrets work."""
    new.done(page("mkdir -p -m 700 config\n"))
    before = new.files()
    shown = new.done(page("datafor-token store restore datafor_token.gz --dry-run"))
    assert "New Administrators: admin\n" in shown
    assert "would be: 5 created, 0 changed, 0 deleted\n" in shown
    assert new.files() == before
    assert "All records are valid\n" in new.done(page("--yes\ndatafor-token store check"))
    assert "\naccepted\n" in new.done(page("token generate ERP --username lena |"))
    server = new.server()
    try:
        assert signs_in(server, PASSWORD)
        assert signs_in(server, LENAS, "lena")
        assert user_of(server, (kept / "token.txt").read_text().strip()) == "lena"
        signing_in = page("curl -u admin http").replace("-u admin ", f"-sS -u admin:{PASSWORD} ")
        assert '"success":true' in new.done(signing_in, {"127.0.0.1:28080": f"127.0.0.1:{server.port}"})
    finally:
        server.stop()


def test_under_systemd(new: Host) -> None:
    """The files are put in place for the user of the service, to whom all belongs that root's restore creates."""
    state = new.folder / "var/lib/datafor_token"
    owner = "-o nobody -g daemon" if os.geteuid() == 0 else ""
    new.done(
        page("install -d -m 700 -o datafor_token"),
        {"/var/lib/datafor_token": str(state), "-o datafor_token -g datafor_token": owner},
    )
    Host(state).done(page("--yes\ndatafor-token store check"))
    paths = [state, *state.rglob("*")]
    assert len({(path.stat().st_uid, path.stat().st_gid) for path in paths}) == 1
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}
    if os.geteuid() == 0:
        assert state.owner() == "nobody"


def test_on_the_same_host(restored: Host, kept: Path) -> None:
    """Beside a running server, a restore deletes what is new, and brings back what was changed or deleted.

    The tokens of a user who was deleted in between stay revoked.
    """
    server = restored.server()
    try:
        restored.done(
            """
            echo another-Password | datafor-token user passwd admin
            datafor-token user delete lena --yes
            datafor-token user add mallory --password-file token.txt
            datafor-token application rotate ERP --grace 0
            """
        )
        assert user_of(server, (kept / "token.txt").read_text().strip()) == 401
        shown = restored.done(page("records.gz --dry-run\ndatafor-token store restore /var"), HERE)
        assert "Changed users: admin (password)\n" in shown
        assert "Changed applications: ERP (secret, previous)\n" in shown
        assert "Deleted users: mallory\n" in shown
        assert "1 created, 2 changed, 1 deleted\n" in shown
        assert signs_in(server, PASSWORD)
        assert user_of(server, (kept / "token.txt").read_text().strip()) == 401
        assert user_of(server, restored.done("datafor-token token generate ERP --username lena").split()[0]) == "lena"
        assert not signs_in(server, "x" * 8, "mallory")
    finally:
        server.stop()


def test_what_a_restore_changes(restored: Host, kept: Path) -> None:
    """Sessions end and a revoked token remains revoked; on a new host without its record, it is valid again."""
    server = restored.server()
    issued = (kept / "token.txt").read_text().strip()
    try:
        response = server.request("POST", LOGIN, f"username=admin&password={PASSWORD}", {})
        cookie = {"Cookie": f"JSESSIONID={response.json['jsessionid']}"}
        assert server.request("GET", ME, headers=cookie).status == 200
        restored.done("datafor-token token revoke < token.txt")
        restored.done("datafor-token store restore datafor_token.gz --yes")
        assert server.request("GET", ME, headers=cookie).status == 401
        assert user_of(server, issued) == 401
    finally:
        server.stop()
    shutil.rmtree(restored.data)
    assert restored.done(page("cat config/secret_key")) == (kept / "secret_key").read_text()
    restored.done("datafor-token store restore datafor_token.gz --yes")
    assert "\naccepted\n" in restored.done("datafor-token token explain < token.txt")


def sentences() -> list[str]:
    """Return the sentences of the table of refusals, with ``...`` for names and folders."""
    table = pages.text("docs/backup.md").partition("## When a restore is refused")[2]
    return re.findall(r"^\| `(.+?)` \|", table.partition("### ")[0], re.MULTILINE)


def no_key(host: Host) -> None:
    (host.config / "secret_key").unlink()


def another_key(host: Host) -> None:
    host.done("openssl rand -base64 32 > config/secret_key")


def broken_key(host: Host) -> None:
    (host.config / "secret_key").write_text("c2VjcmV0\n")


def unreadable_key(host: Host) -> None:
    # Root can read any file, but opens no link that leads to itself.
    no_key(host)
    (host.config / "secret_key").symlink_to("secret_key")


def another_store(host: Host) -> None:
    (host.config / "store_id").write_text("0" * 32 + "\n")


def cut_off(host: Host) -> None:
    file = host.folder / "datafor_token.gz"
    file.write_bytes(file.read_bytes()[:-20])


def changed(host: Host) -> None:
    file = host.folder / "datafor_token.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b'"Sales"', b'"Admin"')))


def no_administrator(host: Host) -> None:
    file, keyring = host.folder / "datafor_token.gz", load_keys(host.config, {})
    records = [one for one in backup.read(file, keyring).records if one[1]["name"] != "admin"]
    backup.write(file, records, keyring)


REFUSALS = (
    no_key, another_key, broken_key, unreadable_key, another_store, cut_off, changed, no_administrator,
)  # fmt: skip


@pytest.mark.parametrize(("fault", "row"), list(zip(REFUSALS, sentences(), strict=True)))
def test_when_a_restore_is_refused(new: Host, fault: Callable[[Host], None], row: str) -> None:
    """Each refusal prints the sentence of its row, and changes nothing."""
    new.done(page("mkdir -p -m 700 config\n"))
    fault(new)
    before = new.files()
    # Root can read any file: there, the reason is another one.
    pattern = re.escape(row).replace(r"\.\.\.", ".+").replace(r"Permission\ denied", ".+")
    for option in ("--dry-run", "--yes"):
        assert re.match(pattern, new.refused(f"datafor-token store restore datafor_token.gz {option}"))
    assert new.files() == before


@pytest.mark.parametrize("given", ["token.txt", "nowhere.gz", "."])
def test_another_file(new: Host, given: str) -> None:
    """A file that is no backup, no file and a folder are refused by name."""
    new.done(page("mkdir -p -m 700 config\n"))
    assert given in new.refused(f"datafor-token store restore {given} --yes")
    assert not new.data.exists()


def test_a_key_added_after_the_own_one(new: Host) -> None:
    """With the key of the backup on the last line, secrets are encrypted with the first, which then suffices."""
    new.done(page("mkdir -p -m 700 config\n"))
    new.done("openssl rand -base64 32 > own && cat own secret_key > config/secret_key")
    new.done("datafor-token store restore datafor_token.gz --yes && cp own config/secret_key")
    assert "\naccepted\n" in new.done(page("token generate ERP --username lena |"))


def test_the_new_host_was_started_before(new: Host) -> None:
    """After the store of the first start was moved away, the restore works."""
    new.first_start()
    (new.config / "initial_admin_password").touch()
    assert "the present ones" in new.refused("datafor-token store restore datafor_token.gz --yes")
    new.done(page("mkdir started-before"))
    new.done(page("mkdir -p -m 700 config\n"))
    assert "All records are valid" in new.done(page("--yes\ndatafor-token store check"))
    assert "lena" in new.users()


def test_one_application_one_user(restored: Host) -> None:
    """One application and one user come back from a backup; others stay as they are now."""
    restored.done(
        """
        datafor-token application delete ERP --yes
        echo another-Password | datafor-token user passwd lena
        datafor-token user set admin --full-name New
        """
    )
    restored.done(page("spare/data store restore datafor_token.gz --yes"))
    assert "create ERP" in restored.done(page("export ERP"))
    assert (restored.folder / "erp.toml").stat().st_mode & 0o777 == 0o600
    assert "\naccepted\n" in restored.done("datafor-token token explain < token.txt")
    assert "SYS_Creator" in restored.done(page("cp spare"))
    assert (restored.data / "users" / "lena.json").read_bytes() == (
        restored.folder / "spare" / "data" / "users" / "lena.json"
    ).read_bytes()
    assert "New" in restored.done("datafor-token user show admin")
    restored.done("datafor-token application rotate ERP")
    assert "leave `secret` out" in restored.refused(page("export ERP"))
    restored.done("sed -i /^secret/d erp.toml && datafor-token application apply erp.toml")
    restored.done(page("rm -r spare"))
    assert not list(restored.folder.glob("spare*"))


def test_check_a_backup(restored: Host) -> None:
    """A backup is checked beside the running store, which stays as it is."""
    before = restored.files()
    shown = restored.done(page("spare/data store restore datafor_token.gz --dry-run"))
    assert "would be: 5 created" in shown
    assert "Deleted" not in shown
    restored.done(page("rm -r spare erp.toml").replace("erp.toml", ""))
    assert restored.files() == before
    cut_off(restored)
    assert restored.run(page("spare/data store restore datafor_token.gz --dry-run")).returncode == 1


def drill(host: Host) -> subprocess.CompletedProcess[str]:
    (host.folder / "drill.sh").write_text(page("#!/bin/bash", "bash"))
    return host.run(page("bash drill.sh"), HERE)


def test_the_drill(new: Host) -> None:
    """The script proves a backup in a folder of its own, and leaves nothing behind."""
    temp = new.folder / "temp"
    temp.mkdir()
    new.environ["TMPDIR"] = str(temp)
    done = drill(new)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the backup works"), done.stderr
    assert '"username":"lena"' in done.stdout
    assert not list(temp.iterdir())
    assert not new.config.exists()


@pytest.mark.parametrize("fault", ["key", "age", "backup"])
def test_the_drill_fails(new: Host, fault: str) -> None:
    """The script fails with another key, an old backup, and a backup that was cut off."""
    if fault == "key":
        new.done("openssl rand -base64 32 > secret_key")
    elif fault == "age":
        os.utime(new.folder / "datafor_token.gz", (0, 0))
    else:
        cut_off(new)
    done = drill(new)
    assert done.returncode == 1
    assert "datafor_token.gz" in done.stderr
    assert "the backup works" not in done.stdout


def test_without_the_key(new: Host) -> None:
    """Without the key, users keep their passwords, and applications get new secrets that their issuers can use."""
    (new.folder / "secret_key").unlink()
    new.first_start()
    assert "the present ones" in new.refused("datafor-token store restore datafor_token.gz --unauthenticated --yes")
    new.done(page("store backup new.gz"))
    (new.folder / "without_key.py").write_text(page("Usage: without_key.py", "python"))
    restore = page("python3 without_key.py datafor_token.gz")
    first, *rest = restore.splitlines(keepends=True)
    done = new.run(first)
    assert done.stderr == "CRM: left out, because CRM.pem does not exist\n"
    shutil.copy(new.folder / "public.pem", new.folder / "CRM.pem")
    secret = new.done(first).removeprefix("ERP ").strip()
    shown = new.done("".join(rest))
    assert "applications are encrypted with the key" in shown
    generate = "datafor-token token generate CRM --username lena --private-key-file private.pem"
    assert "\naccepted\n" in new.done(f"{generate} | datafor-token token explain")
    assert "enc1:" in (new.data / "applications" / "erp.json").read_text()
    assert new.done("datafor-token store check") == "All records are valid\n"
    server = new.server()
    try:
        assert signs_in(server, PASSWORD)
        assert signs_in(server, LENAS, "lena")
        assert signs_in(server, LENAS, "Łukasz O'Neil.2@x/y")
        assert user_of(server, token({"username": "lena", "exp": int(time.time()) + 60}, secret)) == "lena"
    finally:
        server.stop()


def test_change_the_key(restored: Host) -> None:
    """After each step the service starts, and at the end the new key alone decrypts; revoked tokens remain revoked."""
    restored.done("datafor-token token revoke < token.txt")
    old = (restored.config / "secret_key").read_text()
    restored.done(page("openssl rand"))
    assert (restored.config / "secret_key").stat().st_mode & 0o777 == 0o600
    server = restored.server()
    restored.done(page("datafor-token store rekey"))
    restored.done(page("store backup /var/"), HERE)
    server.stop()
    restored.done(page("sed -i"))
    (key,) = (restored.config / "secret_key").read_text().split()
    assert key not in old
    server = restored.server()
    try:
        assert signs_in(server, PASSWORD)
        assert "\naccepted\n" in restored.done(page("token generate ERP --username lena |"))
        assert restored.run("datafor-token token explain < token.txt").returncode == 1
    finally:
        server.stop()


def test_the_line_for_cron(restored: Host) -> None:
    """The line for cron, run from / with cron's environment, writes the backup of the day and prints nothing."""
    (line,) = [one for one in pages.blocks("docs/backup.md", "") if one.startswith("30 2")]
    command = re.sub(r"^(\S+ +){6}", "", line).replace("\\%", "%")
    assert "\n" not in command.strip()
    command = command.replace("/opt/datafor_token/bin/", "").replace("/var/lib/datafor_token", str(restored.folder))
    command = command.replace("/var/backups/datafor_token", str(restored.folder))
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", check=False, capture_output=True, text=True,
        env={"PATH": pages.environment()["PATH"], "LOGNAME": "x"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (written,) = restored.folder.glob("???.gz")
    assert b'"ERP"' in gzip.decompress(written.read_bytes())


def test_to_another_host_and_from_it(restored: Host) -> None:
    """A backup goes to another host and comes back without a file on this one."""
    there = restored.folder / "there"
    there.mkdir()
    restored.done(page("store backup - |"), {"ssh backup.example": f"env -C {there} bash -c"})
    assert [path.name for path in there.iterdir()] == ["records.gz"]
    (command,) = re.findall(r"`(ssh backup.example cat .+?)`", pages.text("docs/backup.md"))
    shown = restored.done(command, {"ssh backup.example cat ": f"cat {there}/"})
    assert "0 created, 0 changed, 0 deleted\n" in shown


def test_every_block_has_a_test() -> None:
    """Each block of commands of the page is run by a test here."""
    assert blocks_without_test("backup", Path(__file__)) == []
