"""Wrong usages of the command: each message names the fault and what to type."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from datafor_token.settings import Settings
from tests.cli.shell import Shell, fill
from tests.commands import invoke
from tests.conftest import Caller
from tests.processes import environment, first_start
from tests.support import ROOT

SECRET_ON_THE_LINE = "Others could read it on the command line: use --{}-file or standard input"
# A command line, its standard input, the exit code, and parts of the message.
CASES: list[tuple[str, str, int, tuple[str, ...]]] = [
    # Commands that do not exist.
    ("users", "", 2, ("No such command: datafor-token users.", "Did you mean `datafor-token user`?")),
    ("users list", "", 2, ("Did you mean `datafor-token user`?",)),
    ("usr list", "", 2, ("Did you mean `datafor-token user`?",)),
    ("app list", "", 2, ("Did you mean `datafor-token application`?",)),
    ("list", "", 2, ("`datafor-token user list` or `datafor-token application list`",)),
    ("backup x.gz", "", 2, ("Did you mean `datafor-token store backup`?",)),
    ("rotate ERP", "", 2, ("Did you mean `datafor-token application rotate`?",)),
    ("run", "", 2, ("Did you mean `datafor-token serve`?",)),
    ("help", "", 2, ("Did you mean `datafor-token --help`?",)),
    ("version", "", 2, ("Did you mean `datafor-token --version`?",)),
    ("login", "", 2, ("No such command", "Choose from: serve, drain, user, application, token, gate, store")),
    ("user ad lena", "", 2, ("Did you mean `datafor-token user add`?",)),
    ("user create lena", "", 2, ("Did you mean `datafor-token user add`?",)),
    ("user rm lena", "", 2, ("Did you mean `datafor-token user delete`?",)),
    ("user help", "", 2, ("Did you mean `datafor-token user --help`?",)),
    ("application create ERP", "", 2, ("Did you mean `datafor-token application add`?",)),
    ("application update ERP", "", 2, ("Did you mean `datafor-token application set`?",)),
    ("token verify x", "", 2, ("Did you mean `datafor-token token explain`?",)),
    ("token create ERP", "", 2, ("Did you mean `datafor-token token generate`?",)),
    ("audit list", "", 2, ("Did you mean `datafor-token audit show`?",)),
    ("settings set LEEWAY 5", "", 2, ("Choose from: check, example, rehearse, show",)),
    # Arguments.
    ("user add", "", 2, ("Missing argument 'NAME'", "Example: datafor-token user add lena")),
    ("user show", "", 2, ("Missing argument 'NAME'", "Example: datafor-token user show lena")),
    ("user list lena", "", 2, ("takes no argument; to show one, type `datafor-token user show lena`",)),
    ("user show lena otto", "", 2, ("Unexpected argument: otto. `datafor-token user show` takes only NAME",)),
    ("user add lena marked", "", 2, ("Too many arguments. A password or secret is read with --password-file",)),
    ("user passwd admin marked", "", 2, ("Too many arguments", "--password-file or from standard input")),
    ("application add New marked", "", 2, ("Too many arguments", "--secret-file or from standard input")),
    ("application apply", "", 2, ("Missing argument 'PATH'", "application apply applications/")),
    ("store backup", "", 2, ("Missing argument 'FILE'", "store backup /backup/")),
    ("store restore", "", 2, ("Missing argument 'FILE'", "store restore /backup/")),
    ("store check x", "", 2, ("Unexpected argument: x. `datafor-token store check` takes no argument",)),
    ("settings show LEEWAY", "", 2, ("`datafor-token settings show` takes no argument",)),
    ("completion", "", 2, ("Missing argument 'SHELL'. Choose from: bash, zsh, fish",)),
    ("completion powershell", "", 2, ("'powershell' is not one of 'bash', 'zsh', 'fish'",)),
    ("serve now", "", 2, ("Unexpected argument: now",)),
    ("token generate --username lena", "", 2, ("Missing argument 'APPLICATION'", "token generate ERP --username lena")),
    # Options.
    ("--colour user list", "", 2, ("No such option: --colour", "`datafor-token --help` shows all")),
    ("-v", "", 2, ("No such option: -v. Did you mean --version?",)),
    ("user list -h", "", 2, ("No such option: -h. Did you mean --help?",)),
    ("--data", "", 2, ("Option '--data' requires an argument",)),
    ("user list --dta x", "", 2, ("No such option: --dta. Did you mean --data?",)),
    ("user add lena --password marked", "", 2, ("No such option: --password.", SECRET_ON_THE_LINE.format("password"))),
    ("user add lena --password=marked", "", 2, (SECRET_ON_THE_LINE.format("password"),)),
    ("user add lena --pasword-file x", "", 2, ("Did you mean --password-file?",)),
    ("user add lena --roles Sales", "", 2, ("Did you mean --role",)),
    ("user add lena --role", "", 2, ("Option '--role' requires an argument",)),
    ("user add lena --type admin", "long enough", 2, ("'admin' is not one of 'Administrator', 'SYS_Creator'",)),
    ("user add -lena", "long enough", 2, ("No such option: -l. Type -- before a name that begins with -",)),
    ("user add lena --password-file a --random-password", "", 2, ("'a': No such file or directory",)),
    ("user set admin", "", 2, ("Give at least one change",)),
    ("user set admin --no-roles --role x", "", 2, ("either --role or --no-roles",)),
    ("user set admin --enabled 0", "", 2, ("Use `datafor-token user enable` or `datafor-token user disable`",)),
    ("user delete admin --force", "", 2, ("No such option: --force. Did you mean --yes?",)),
    ("application add New --secret marked", "", 2, (SECRET_ON_THE_LINE.format("secret"),)),
    ("application add New --random", "", 2, ("Did you mean --random-secret?",)),
    ("application add New --random-secret --expire 1d", "", 2, ("'1d' is not a number of seconds, such as 86400",)),
    ("application add New --random-secret --algorithm hs1", "", 2, ("'hs1' is not one of 'HS256'",)),
    ("application add New --random-secret --algorithm RS256", "", 2, ("RS256 needs a public key: use --secret-file",)),
    ("application set ERP", "", 2, ("Give at least one change, such as --expire 3600",)),
    ("application set ERP --enable 0", "", 2, ("`datafor-token application disable`",)),
    ("application set ERP --require azp", "", 2, ("'azp' is not CLAIM=VALUE, such as azp=erp",)),
    ("application set ERP --roles-map x", "", 2, ("'x' is not VALUE=ROLE, such as staff=Sales",)),
    ("application set ERP --roles-map x=A --roles-map x=B", "", 2, ("Give --roles-map once for x",)),
    ("application set ERP --max-lifetime 1h", "", 2, ("'1h' is not a number of seconds, such as 86400",)),
    ("application set ERP --users all", "", 2, ("'all' is not one of 'any', 'own'",)),
    ("application set ERP --sync type", "", 2, ("'type' is not one of 'name', 'email', 'roles'",)),
    ("application set ERP --report issuer,users", "", 2, ("'issuer,users' is not one of 'token_types', 'audience'",)),
    ("application set ERP --audiences x", "", 2, ("Did you mean --audience?",)),
    ("application set ERP --jwks-uri https://x/ --new-secret", "", 2, ("Give either --new-secret or --jwks-uri",)),
    ("application add New --jwks-uri https://x/ --secret-file empty", "", 2, ("either --secret-file or --jwks-uri",)),
    ("application rotate ERP --jwks-uri https://x/ --secret-file empty", "", 2, ("--secret-file or --jwks-uri",)),
    ("application rotate ERP --grace 1h", "", 2, ("'1h' is not a number of seconds",)),
    ("token generate ERP", "", 2, ("Missing option '--username'", "token generate ERP --username lena")),
    ("token generate ERP --user lena", "", 2, ("No such option: --user. Did you mean --username?",)),
    ("audit show --limit 0", "", 2, ("0 is not in the range",)),
    ("audit show --limit all", "", 2, ("'all' is not a valid integer",)),
    ("store migrate", "", 2, ("Missing option '--to'", "store migrate --to postgresql")),
    ("store migrate --to mysql://marked", "", 2, ("the URL of a database such as postgresql",)),
    ("serve --port 80", "", 2, ("No such option: --port. Did you mean --bind?",)),
    (
        "serve --bind nowhere",
        "",
        2,
        ("'nowhere' is not host:port", "Example: datafor-token serve --bind 127.0.0.1:8080"),
    ),
    ("serve --bind 127.0.0.1:99999", "", 2, ("'127.0.0.1:99999' is not host:port",)),
    ("serve --workers 0", "", 2, ("0 is not in the range 1<=x<=64",)),
    ("serve --threads 2", "", 2, ("2 is not in the range 3<=x<=64",)),
    # Files.
    ("user add lena --password-file nowhere", "", 2, ("'nowhere': No such file or directory",)),
    ("user add lena --password-file folder", "", 2, ("'folder': Is a directory",)),
    ("user add lena --password-file binary", "", 1, ("password is not UTF-8",)),
    ("user add lena --password-file empty", "", 1, ("password cannot be empty: use --password-file",)),
    ("application apply nowhere", "", 2, ("Path 'nowhere' does not exist",)),
    ("application apply folder", "", 1, ("folder has no .toml or .json file",)),
    ("application apply binary", "", 1, ("binary is not UTF-8",)),
    ("application apply empty", "", 1, ("empty: the list 'application' is missing",)),
    ("store restore nowhere", "", 2, ("File 'nowhere' does not exist",)),
    ("store restore folder", "", 2, ("File 'folder' is a directory",)),
    # Values.
    ("user add lena", "", 1, ("password cannot be empty: use --password-file, --random-password or standard input",)),
    ("user passwd admin", "", 1, ("password cannot be empty: use --password-file",)),
    ("user add admin", "long enough", 1, ("name already exists as 'admin': change it with `datafor-token user set",)),
    ("user show nobody", "", 1, ("user 'nobody' does not exist: `datafor-token user list` shows all",)),
    ("user passwd nobody", "long enough", 1, ("user 'nobody' does not exist",)),
    ("user disable admin", "", 1, ("admin is the last enabled Administrator: make another one first, with `datafor",)),
    ("user delete admin --yes", "", 1, ("admin is the last enabled Administrator: make another one first",)),
    ("user delete admin", "", 1, ("without a terminal, give --yes to confirm",)),
    ("application add New", "", 1, ("secret cannot be empty: use --secret-file, --random-secret or standard input",)),
    (
        "application add erp --random-secret",
        "",
        1,
        ("already exists as 'ERP': change it with `datafor-token applicat",),
    ),
    ("application add a/b --random-secret", "", 1, ("name may only contain letters",)),
    ("application set ERP --audience= --audience x", "", 1, ("audience can not be empty",)),
    (
        "application set ERP --network 10.0.0.1/8",
        "",
        1,
        ("10.0.0.1/8' has host bits; for the network, write 10.0.0.0/8",),
    ),
    ("application set ERP --jwks-uri https://x/", "", 1, ("jwks_uri needs an algorithm with public keys", "issuer is")),
    ("application show nobody", "", 1, ("application 'nobody' does not exist: `datafor-token application list`",)),
    ("application export ERP nobody", "", 1, ("application 'nobody' does not exist",)),
    ("token generate nobody --username lena", "", 1, ("application 'nobody' does not exist",)),
    ("token generate ERP --username lena --payload {a:1}", "", 1, ("payload is not valid JSON: use a form such as",)),
    ("token explain", "", 1, ("token cannot be empty: give it as an argument or on standard input",)),
    ("token decode nonsense", "", 1, ("a token is three parts",)),
    ("token revoke nonsense", "", 1, ("Nothing was revoked: a token is three parts",)),
    ("audit show --since yesterday", "", 1, ("since must be a time such as", "90m, 24h, 7d")),
    ("user show us\udcffer", "", 1, ("user 'us\\udcffer' does not exist",)),
]
OF_FOLDERS = [
    ("--data nowhere user list", 3, "/nowhere does not exist: name the data folder of the service with --data"),
    ("--data nowhere drain", 3, "/nowhere does not exist: name that of the server with --data"),
    ("--data folder user list", 3, "/folder has no records of this service: name the data folder"),
    ("user --data binary list", 2, "Directory 'binary' is a file"),
    ("user list --config binary", 2, "Directory 'binary' is a file"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with files that are wrong."""
    found = tmp_path / "current"
    (found / "folder").mkdir(parents=True)
    (found / "binary").write_bytes(b"a\xff\xfe\x00" * 20)
    (found / "empty").touch()
    monkeypatch.chdir(found)
    return found


def records(settings: Settings) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in settings.data_dir.rglob("*.json")}


def test_there_are_seventy() -> None:
    """No usage is in the table twice."""
    assert len({(line, put) for line, put, *_ in CASES}) == len(CASES) >= 70


def test_wrong_usage(shell: Shell, caller: Caller, settings: Settings, folder: Path, subtests: pytest.Subtests) -> None:
    """A wrong usage exits with its code, prints one or two lines that name the fault, and changes nothing."""
    fill(caller)
    before = records(settings)
    for line, put, code, parts in CASES:
        with subtests.test(line=line.replace("\udcff", "?")):
            result = shell(*line.split(), put=put)
            assert (result.exit_code, result.stdout) == (code, ""), result.output
            assert result.exception is None or isinstance(result.exception, SystemExit)
            assert all(part in result.stderr for part in parts), result.stderr
            assert len(result.stderr.splitlines()) in (1, 2)
            assert "marked" not in result.stderr
            assert records(settings) == before
            assert {one.name for one in folder.iterdir()} == {"folder", "binary", "empty"}


@pytest.mark.file_store
@pytest.mark.parametrize(("line", "code", "part"), OF_FOLDERS)
def test_wrong_folders(folder: Path, line: str, code: int, part: str) -> None:
    """A folder without records is named, with what to type, and stays as it is."""
    result = invoke(None, line.split())
    assert (result.exit_code, result.stdout) == (code, "")
    assert part in result.stderr
    assert len(result.stderr.splitlines()) in (1, 2)
    assert not (folder / "nowhere").exists()
    assert list((folder / "folder").iterdir()) == []


@pytest.mark.parametrize("group", ["", "user", "application", "token", "store", "audit", "settings"])
def test_without_a_command(shell: Shell, group: str) -> None:
    """A group without a command prints its help to standard error and exits with 2, so that a script notices."""
    result = shell(*group.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Commands:" in result.stderr


def test_help_that_is_asked_for(shell: Shell) -> None:
    """Help that was asked for is on standard output."""
    assert all("Commands:" in shell.done(*group, "--help") for group in ((), ("user",)))


def command(folder: Path, line: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell, with an empty environment."""
    words = f"{sys.executable} -m datafor_token {line} --config {folder}/config --data {folder}/data"
    return subprocess.run(
        ["bash", "-c", shell.format(words)],
        cwd="/", env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a service with one user, for commands that change nothing."""
    folder: Path = tmp_path_factory.mktemp("unchanged")
    first_start(environment(folder))
    return folder


@pytest.mark.slow
@pytest.mark.file_store
@pytest.mark.parametrize(
    ("line", "shell", "code", "out", "message"),
    [
        ("user list", "{}", 0, "admin", ""),
        ("user list", "LC_ALL=C COLUMNS=20 TERM= {}", 0, "admin", ""),
        ("user passwd admin", "{}", 1, "", "password cannot be empty: use --password-file"),
        ("user passwd admin", "{} <&-", 1, "", "password cannot be empty: use --password-file"),
        ("application add New", "true | {}", 1, "", "secret cannot be empty: use --secret-file"),
        ("token explain", "{} <&-", 1, "", "token cannot be empty"),
        ("user delete admin", "{} <&-", 1, "", "give --yes to confirm"),
        ("store restore - --yes", "{} <&-", 1, "", "standard input is not a whole backup"),
        ("store backup -", "{} >&-", 1, "", "standard output is closed: redirect it"),
        ("settings show", "{} | head -1; exit ${{PIPESTATUS[0]}}", None, "name", ""),
        ("settings show", "{} | true; exit ${{PIPESTATUS[0]}}", None, "", ""),
        ("user list", "{} > /dev/full", 1, "", "cannot read or write: No space left on device"),
        ("user list", "{} >&-", 0, "", ""),
        ("user show nobody", "{} 2>&-", 1, "", ""),
        ("user list", "D=$(mktemp -d); cd $D; rmdir $D; {}", 0, "admin", ""),
        ("user show $'\\xff'", "{}", 1, "", "user '\\udcff' does not exist"),
        ("application apply $'\\xff'", "{}", 2, "", "does not exist"),
    ],
)
def test_from_cron(unchanged: Path, line: str, shell: str, code: int | None, out: str, message: str) -> None:
    """With an empty environment and closed or full streams, a command works or ends with a sentence."""
    done = command(unchanged, line, shell)
    assert done.returncode in ((0, 1) if code is None else (code,)), done.stderr
    assert (out in done.stdout, message in done.stderr) == (True, True), done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr


@pytest.mark.slow
@pytest.mark.file_store
def test_a_secret_that_cannot_be_printed(tmp_path: Path) -> None:
    """If a generated secret or password cannot be printed, the error names the change and how to get another one."""
    first_start(environment(tmp_path))
    full, no_space = "{} > /dev/full", "No space left on device"
    password = "get another password with `datafor-token user passwd {} --random-password`"
    secret = "get another secret with `datafor-token application rotate ERP`"
    for line, shell, fault, sentence in (
        ("user add lena --random-password", full, no_space, f"lena was added as SYS_Reader: {password.format('lena')}"),
        ("application add ERP --random-secret", full, no_space, f"ERP was added: {secret}"),
        ("application rotate ERP", full, no_space, f"ERP has a new secret: {secret}"),
        ("user passwd admin --random-password --json", full, no_space, password.format("admin")),
        ("user passwd admin --random-password", "exec > >(exit); wait $!; {}", "Broken pipe", password.format("admin")),
        ("user passwd admin --random-password", "{} >&-", "standard output is closed", password.format("admin")),
    ):
        done = command(tmp_path, line, shell)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert f"cannot write the result: {fault}. " in done.stderr
        assert sentence in done.stderr


def interrupted(folder: Path, words: Sequence[str], prompt: bytes) -> tuple[int, bytes]:
    """Run a command on a terminal, press Ctrl-C at its prompt; return its exit code and output."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        # A shell without job control starts programs in the background with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        arguments = [sys.executable, "-m", "datafor_token", *words]
        os.execve(sys.executable, arguments, environment(folder))  # noqa: S606 - a test
    output = b""
    while True:
        try:
            output += os.read(terminal, 65536)
        except OSError:
            break
        if output.endswith(prompt):
            # Until the prompt has turned off the echo, the terminal is in another mode.
            time.sleep(0.2)
            os.write(terminal, b"\x03")
            prompt = b"\0"
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), output


@pytest.mark.parametrize(
    ("words", "prompt"), [(("user", "add", "lena"), b"Password: "), (("user", "delete", "admin"), b"[y/N]: ")]
)
def test_ctrl_c_at_a_prompt(tmp_path: Path, words: Sequence[str], prompt: bytes) -> None:
    """Ctrl-C at a prompt changes nothing, and ends with one word and exit code 1."""
    first_start(environment(tmp_path))
    code, output = interrupted(tmp_path, words, prompt)
    assert (code, output.split()[-1]) == (1, b"Aborted")
    assert b"Traceback" not in output
