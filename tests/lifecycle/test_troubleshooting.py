"""The page about trouble: each cause leads to the sentence that the page quotes, and each remedy works."""

import errno
import fcntl
import io
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.errors import AuditUnavailable, Overloaded
from datafor_token.settings import Settings
from datafor_token.users.passwords import Passwords
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, Reply, put_user, services_in
from tests.docs import pages
from tests.handmade_tokens import NOW, claims, token
from tests.lifecycle.host import ME, Host, block, blocks_without_test, signs_in
from tests.lifecycle.quotes import matches, quotes, rows, section
from tests.log_lines import logfmt, read
from tests.processes import environment, run
from tests.store.conftest import opened, prepared
from tests.store.postgres import Postgres
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application, basic

pytestmark = [pytest.mark.file_store, pytest.mark.slow]

NEW_PASSWORD = "a-new-Password"
CHECK = "/auth/check"


def page(containing: str) -> str:
    return block("troubleshooting", containing)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path / "host")
    made.first_start()
    return made


_locks: list[int] = []


@pytest.fixture(autouse=True)
def _no_lock_is_left() -> Iterator[None]:
    yield
    while _locks:
        os.close(_locks.pop())


def lock(path: Path) -> None:
    """Hold a lock until the test ends."""
    _locks.append(os.open(path, os.O_RDWR | os.O_CREAT))
    fcntl.flock(_locks[-1], fcntl.LOCK_EX)


def last(log: io.StringIO) -> dict[str, Any]:
    """Return the fields of the last line of the log."""
    return logfmt(log.getvalue().splitlines()[-1])


def test_find_the_log_line(host: Host) -> None:
    """The identifier of a response finds its line; errors and refusals are found by their level."""
    server = host.server()
    response = server.request("GET", ME, headers=basic("nobody", "x"))
    (host.data / "users" / "admin.json").write_text("{")
    server.request("GET", ME)
    server.stop()
    (host.folder / "log").write_text(server.output)
    here = {"journalctl -o cat -u datafor-token": "cat log"}
    step = page("grep 90d7a6b2c35f41e8a4b8f0e6d1c2b3a4")
    found = host.done(step.replace("90d7a6b2c35f41e8a4b8f0e6d1c2b3a4", str(response.headers["X-Request-ID"])), here)
    (line,) = read(found)
    assert (line["status"], line["reason"]) == (401, "unknown_user")
    statuses = {line.get("status") for line in read(host.done(page("grep level=error"), here))}
    assert {401, 503} <= statuses


def test_a_person_reports_a_reference(host: Host) -> None:
    """The command says why the request of a reference was refused."""
    server = host.server()
    response = server.request("GET", ME, headers=basic("nobody", "x"))
    server.stop()
    step = page("token explain --request")
    shown = host.done(step.replace("90d7a6b2c35f41e8a4b8f0e6d1c2b3a4", str(response.headers["X-Request-ID"])))
    assert "unknown_user" in shown


def test_a_new_password(host: Host) -> None:
    """A command sets a password, which signs in at once on a running server."""
    server = host.server()
    try:
        step = page("datafor-token user passwd admin")
        host.done(f"echo {NEW_PASSWORD} | {step}")
        assert signs_in(server, NEW_PASSWORD)
        assert not signs_in(server, ADMIN_PASSWORD)
    finally:
        server.stop()


def test_the_last_administrator(host: Host) -> None:
    """An Administrator is enabled or created after none can sign in any more."""
    record = host.data / "users" / "admin.json"
    record.write_text(record.read_text().replace('"enabled": true', '"enabled": false'))
    host.done(page("user add rescue"), {"datafor-token user add": f"echo {NEW_PASSWORD} | datafor-token user add"})
    server = host.server()
    try:
        assert signs_in(server, ADMIN_PASSWORD)
        assert signs_in(server, NEW_PASSWORD, "rescue")
    finally:
        server.stop()


def test_the_sentences_about_a_password(host: Host) -> None:
    """The page quotes what the command prints."""
    ((unknown,), (missing, empty), (short,)) = rows("troubleshooting", "A forgotten password")
    assert matches(unknown, host.refused("echo x | datafor-token user passwd nobody"))
    assert matches(missing, host.refused("datafor-token --data nowhere user passwd admin"))
    assert matches(empty, host.refused("mkdir empty; datafor-token --data empty user passwd admin"))
    assert matches(short, host.refused("echo x | datafor-token user passwd admin"))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_the_messages_of_401(caller: Caller) -> None:
    """The page lists the three messages of 401."""
    caller.post("update", application())
    found = [
        caller.get(ME, headers=headers).json["msg"]
        for headers in ({}, basic("admin", "wrong"), bearer(token(claims(exp=1))))
    ]
    assert quotes("troubleshooting", "Why is it 401?") == found


def test_the_reasons_of_passwords(app: Flask, caller: Caller, log: io.StringIO) -> None:
    """The page lists the reasons of refused passwords."""
    put_user(app, "off", enabled=False)
    found = []
    for headers in (basic("admin", "x"), basic("nobody", "x"), basic("off", "x"), {"Authorization": "Basic x"}):
        assert caller.get(ME, headers=headers).status_code == 401
        found.append(last(log)["reason"])
    assert quotes("troubleshooting", "Passwords") == found


# Tokens by the reason of their refusal, and a change of the application ERP before.
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "malformed": ("x", {}),
    "header": (token(claims(), header={"typ": "JWT", "alg": "HS256", "crit": ["x"]}), {}),
    "algorithm": (token(claims(), header={"alg": "HS512"}), {}),
    "signature": (token(claims(), secret="other"), {}),
    "no_expiry": (token(claims(exp=None)), {}),
    "expired": (token(claims(exp=NOW - 42)), {}),
    "not_yet_valid": (token(claims(nbf=NOW + 90)), {}),
    "invalid_time": (token(claims(exp=str(NOW))), {}),
    "no_username": (token({"username": "lena", "exp": NOW + 9}), {}),
    "invalid_username": (token(claims(loginname="a:b")), {}),
    "revoked": (token(claims(jti="revoked")), {}),
    "disabled_application": (token(claims()), {"enable": "0"}),
    "unknown_user": (token(claims()), {"inituser": "0"}),
    "disabled_user": (token(claims(loginname="off")), {}),
    "administrator_refused": (token(claims(loginname="admin")), {}),
    "audience": (token(claims(aud="other")), {}),
    "issuer": (token(claims(iss="https://id.example.com/")), {"issuer": "https://id.example.com"}),
    "claim": (token(claims(dept="north")), {"require": {"dept": "sales"}}),
    "too_long_lived": (token(claims(iat=NOW)), {"expire": 60, "max_lifetime": 60}),
    "network": (token(claims()), {"networks": ["10.0.0.0/8"]}),
    "not_own_user": (token(claims(loginname="hand")), {"users": "own"}),
    "keys_unavailable": (
        token(claims(iss="x"), header={"typ": "JWT", "alg": "RS256"}),
        # Nothing listens there.
        {"algorithm": "RS256", "secret": None, "jwks_uri": "http://127.0.0.1:1/keys", "issuer": "x"},
    ),
}
NO_POLICY = dict.fromkeys(("issuer", "require", "max_lifetime", "networks", "users"), "")


def test_the_reasons_of_tokens(app: Flask, caller: Caller, log: io.StringIO) -> None:
    """The page lists each reason why a token is refused."""
    put_user(app, "off", enabled=False)
    put_user(app, "hand")
    caller.post("update", application())
    caller.post("revoke", {"token": REFUSED["revoked"][0]})
    for reason, (text, changes) in REFUSED.items():
        assert caller.post("update", application(**{**NO_POLICY, **changes})).status_code == 200
        assert caller.get(ME, headers=bearer(text)).status_code == 401
        assert last(log)["reason"] == reason
    caller.post("update", application(**NO_POLICY))
    assert caller.get(f"{ME}?token=a&token=b", headers={}).status_code == 401
    assert quotes("troubleshooting", "Tokens") == [*REFUSED, last(log)["reason"]]


def test_explain_and_the_audit_log(host: Host) -> None:
    """The commands of the page tell why a token was refused."""
    host.done("datafor-token application add ERP --random-secret --inituser 1")
    host.done("datafor-token token generate ERP --username lena > token.txt")
    host.done("datafor-token application disable ERP")
    assert "ERP is not enabled" in host.run(page("token explain <")).stdout
    server = host.server()
    assert server.request("GET", ME, headers=bearer((host.folder / "token.txt").read_text().strip())).status == 401
    server.stop()
    assert "disabled_application" in host.done(page("audit show"))


def test_the_remedies_of_401(host: Host) -> None:
    """The commands in the tables of 401 exist and do what they say."""
    host.done("datafor-token application add ERP --random-secret --inituser 0")
    host.done("datafor-token token generate ERP --username lena > token.txt")
    host.done("datafor-token application disable ERP")
    text = pages.text("docs/troubleshooting.md")
    enable, inituser = "datafor-token application enable ERP", "datafor-token application set ERP --inituser 1"
    assert f"`{enable}`" in text
    assert f"`{inituser}`" in text
    host.done(f"{enable}; {inituser}; datafor-token token explain < token.txt")
    host.done("datafor-token token generate ERP --username admin > admin.txt")
    assert host.run("datafor-token token explain < admin.txt").returncode == 1
    setting = "TOKENS_MAY_ADMINISTER = true"
    assert f"`{setting}`" in text
    host.done(f"echo '{setting}' >> config/settings.toml; datafor-token token explain < admin.txt")
    # A weak secret; after the rotation, a token of the new one signs an Administrator in.
    host.done("printf abcd > weak; datafor-token application set ERP --new-secret --secret-file weak")
    assert "`datafor-token application rotate ERP`" in text
    host.done("datafor-token application rotate ERP")
    host.done("datafor-token token generate ERP --username admin | datafor-token token explain")


def post(caller: Caller, **headers: str) -> Reply:
    return caller.post("update", application(), headers={**basic(), **headers})


def test_the_reasons_of_403(
    app: Flask, caller: Caller, log: io.StringIO, settings: Settings, host: Host, clock: Clock
) -> None:
    """The page quotes the message or the reason of each refusal."""
    caller.post("update", application())
    caller.post("update", application(name="Off", enable="0"))
    put_user(app, "lena")
    signed = bearer(token(claims()))
    trusting = create_app(replace(settings, trusted_hosts=("intra.example",)), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    calls: list[Callable[[], Reply]] = [
        lambda: caller.get("list", headers=signed),
        lambda: post(caller, Origin="https://portal.example"),
        lambda: caller.open("POST", "/console/login", {}, data={"username": "x"}),
        lambda: Caller(trusting.test_client()).get(ME),
        lambda: caller.get(f"{CHECK}?role=Sales", headers=signed),
        lambda: caller.get(f"{CHECK}?rolle=Sales", headers=signed),
        lambda: caller.post("generate", {"name": "Off", "username": "lena"}),
        lambda: caller.post("generate", {"name": "ERP", "privateKey": "wrong"}),
    ]
    *listed, last_administrator = quotes("troubleshooting", "Why is it 403?")
    for quote, call in zip(listed, calls, strict=True):
        response = call()
        assert response.status_code == 403, quote
        message = response.json["msg"] if response.json else ""
        assert any(matches(quote, found) for found in (message, last(log)["reason"])), (quote, message, last(log))
    assert matches(last_administrator, host.refused("datafor-token user disable admin"))


def test_why_is_it_429(host: Host) -> None:
    """Ten failures lock out a name; a new password does not help, the command of the page does."""
    server = host.server()
    try:
        responses = [server.request("GET", ME, headers=basic("admin", "wrong")) for _ in range(11)]
        assert [response.status for response in responses] == [401] * 10 + [429]
        assert f"`{responses[10].json['msg']}`" in section("troubleshooting", "Why is it 429?")
        assert 0 < int(responses[10].headers["Retry-After"]) <= 300
        host.done(f"echo {NEW_PASSWORD} | datafor-token user passwd admin")
        assert not signs_in(server, NEW_PASSWORD)
        server.client_address = "127.0.0.2"
        assert signs_in(server, NEW_PASSWORD)
        server.client_address = "127.0.0.1"
        host.done(page("rm -r data/throttle"))
        assert signs_in(server, NEW_PASSWORD)
    finally:
        server.stop()


class Outage:
    """The causes of 503, in the order of the page. Each changes an application, unless it makes a call of its own."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data, self.monkeypatch = data, monkeypatch
        self.record = data / "applications" / "erp.json"

    def full_disk(self) -> None:
        def write(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.monkeypatch.setattr(os, "write", write)

    def read_only(self) -> None:
        opened = os.open

        def open_(path: Any, flags: int, *more: Any, **names: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return opened(path, flags, *more, **names)

        self.monkeypatch.setattr(os, "open", open_)

    def permission_denied(self) -> None:
        # Root may write any file: the error is raised where the system would.
        opened = os.open

        def open_(path: Any, flags: int, *more: Any, **names: Any) -> int:
            if str(path).endswith("audit.log"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            return opened(path, flags, *more, **names)

        self.monkeypatch.setattr(os, "open", open_)

    def locked(self) -> None:
        lock(self.data / "applications" / ".lock")

    def damaged(self) -> None:
        self.record.write_text("{")

    def renamed(self) -> None:
        shutil.move(self.record.with_name("crm.json"), self.record)

    def gone(self) -> None:
        shutil.rmtree(self.record.parent)


CAUSES = (
    Outage.full_disk, Outage.read_only, Outage.permission_denied, Outage.locked, Outage.damaged, Outage.renamed,
    Outage.gone,
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(CAUSES)))
def test_the_reasons_of_503(
    caller: Caller, log: io.StringIO, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Each cause is logged with the reason that the page quotes."""
    for name in ("ERP", "CRM"):
        caller.post("update", application(name=name))
    with monkeypatch.context() as during:
        outage = Outage(settings.data_dir, during)
        CAUSES[number](outage)
        response = caller.post("update", application(expire=60))
    assert response.status_code == 503
    assert response.json["msg"].startswith("storage is unavailable")
    reason = last(log)["reason"]
    assert any(matches(quote, reason) for quote in rows("troubleshooting", "Why is it 503?")[number]), reason


def without_the_audit_table(tmp_path: Path) -> str:
    store = opened(prepared(f"sqlite:///{tmp_path}/records.db"))
    with store._database.writing(None) as connection:
        connection.exec_driver_sql("DROP TABLE datafor_audit")
        connection.commit()
    with pytest.raises(AuditUnavailable) as caught, store.line_log.change() as record:
        record(b'{"time":"2026-01-01T00:00:00.000Z"}\n')
    return str(caught.value.reason)


def of_another_key(caller: Caller, settings: Settings) -> None:
    caller.post("update", application(secret=STRONG_SECRET))
    record = settings.data_dir / "applications" / "erp.json"
    record.write_text(re.sub(r"enc1:[0-9a-f]+:", f"enc1:{'0' * 16}:", record.read_text()))


FURTHER = ("audit table", "missing key", "signer", "draining")


@pytest.mark.parametrize("cause", FURTHER)
def test_further_reasons_of_503(app: Flask, caller: Caller, log: io.StringIO, tmp_path: Path, cause: str) -> None:
    """Each cause that several hosts have is logged with the reason that the page quotes."""
    if cause == "audit table":
        reason = without_the_audit_table(tmp_path)
    else:
        if cause == "draining":
            services_in(app).draining.begin()
            response = caller.get("/readyz")
        else:
            of_another_key(caller, services_in(app).settings)
            bearer = {"Authorization": f"Bearer {token(claims(), STRONG_SECRET)}"}
            ask: dict[str, Callable[[], Any]] = {
                "missing key": lambda: caller.post("generate", {"name": "ERP", "username": "lena"}),
                "signer": lambda: caller.get(CHECK, headers=bearer),
            }
            response = ask[cause]()
        assert response.status_code == 503
        reason = last(log)["reason"]
    (quote,) = rows("troubleshooting", "Why is it 503?")[len(CAUSES) + 1 + FURTHER.index(cause)]
    assert matches(quote, reason), reason


def test_the_words_of_other_503(caller: Caller, log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many sign-ins and a doubtful change have the words of the page."""
    sign_ins, _ = rows("troubleshooting", "Why is it 503?")[-2:]
    text = section("troubleshooting", "Why is it 503?")

    def overloaded(*_: object) -> bool:
        raise Overloaded

    with monkeypatch.context() as during:
        during.setattr(Passwords, "verify", overloaded)
        response = caller.get(ME, headers=basic("lena", "x"))
    assert (response.status_code, f"`{response.json['msg']}`" in text) == (503, True)
    assert [last(log)["reason"]] == sign_ins
    synced = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    response = caller.post("update", application())
    assert (response.status_code, f"`{response.json['msg']}`" in text) == (503, True)


def test_metrics_without_their_folder(host: Host, tmp_path: Path) -> None:
    """Without their folder, /metrics is 503 with the reason of the page."""
    ((quote,),) = rows("troubleshooting", "Why is it 503?")[-1:]
    folder = tmp_path / "metrics"
    folder.mkdir()
    server = host.server(DATAFOR_TOKEN_METRICS_DIR=str(folder))
    shutil.rmtree(folder)
    assert server.request("GET", "/metrics", headers={}).status == 503
    server.stop()
    (reason,) = [line["reason"] for line in read(server.output) if line.get("status") == 503]
    assert matches(quote, reason), reason


@pytest.mark.sql
def test_a_database_that_is_gone(tmp_path: Path) -> None:
    """Calls name the reason; they succeed again when the database is back, without a restart."""
    database = Postgres(safe=False).make().start()
    host = Host(tmp_path, DATAFOR_TOKEN_STORE=database.url())
    try:
        host.done("datafor-token store init")
        server = host.server()
        assert signs_in(server, ADMIN_PASSWORD)
        database.stop(signal.SIGKILL)
        assert server.post("update", application()).status == 503
        database.start()
        assert server.post("update", application()).status == 200
        server.stop()
    finally:
        database.remove()
    reason = next(line["reason"] for line in read(server.output) if line.get("status") == 503)
    assert any(matches(quote, reason) for quote in rows("troubleshooting", "Why is it 503?")[7]), reason


# What prevents a start, in the order of the page. Each changes the host and returns variables of the environment.
Change = dict[str, str] | None


def write(name: str, text: str) -> Callable[[Host], Change]:
    """Return a cause that writes a file of the host."""

    def cause(host: Host) -> Change:
        (host.folder / name).write_text(text)
        return None

    return cause


def variable(name: str, value: str) -> Callable[[Host], Change]:
    """Return a cause in the environment; ``{folder}`` is the folder of the host."""
    return lambda host: {f"DATAFOR_TOKEN_{name}": value.format(folder=host.folder)}


def without_traces_of_records(host: Host) -> Change:
    for name in ("store_id", ".last_store_id"):
        (host.config / name).unlink()
    shutil.rmtree(host.data)
    return None


def no_key(host: Host) -> Change:
    (host.config / "secret_key").unlink()
    return None


def unreadable_key(host: Host) -> Change:
    # Root can read any file, but opens no link that leads to itself.
    no_key(host)
    (host.config / "secret_key").symlink_to("secret_key")
    return None


def migrating(host: Host) -> Change:
    lock(host.data / ".server.lock")
    return None


def no_tables(host: Host) -> Change:
    return {"DATAFOR_TOKEN_STORE": f"sqlite:///{host.folder}/empty.db"}


def first_password(host: Host) -> Change:
    shutil.rmtree(host.data)
    (host.config / "store_id").unlink()
    return {"DATAFOR_TOKEN_ADMIN_PASSWORD": "short"}


def password_file(host: Host) -> Change:
    first_password(host)
    (host.config / "initial_admin_password").mkdir()
    return {"DATAFOR_TOKEN_ADMIN_PASSWORD": ""}


ANOTHER_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"
# Locks of a file system that has none, for the process that starts.
NO_LOCKS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "no locks")
fcntl.flock = flock
"""
CAUSES_AT_START: list[Callable[[Host], Change]] = [
    write("config/settings.toml", "LEEWAI = 3\n"),
    write("config/settings.toml", "URL_PREFIX = '/datafor'\nSIGN_IN_URL = '/datafor/auth/signin'\n"),
    write("config/settings.toml", "TRUSTED_HOSTS = ['a.example']\nGATE_COOKIE_DOMAIN = 'intra.example'\n"),
    write("config/settings.toml", "LEEWAY = 'much'\n"),
    write("config/settings.toml", "LEEWAY = = 3\n"),
    variable("DATA_DIR", "{folder}/mistyped"),
    write("config/store_id", "0" * 32),
    without_traces_of_records,
    write("config/store_id", "nothing"),
    no_key,
    write("config/secret_key", ANOTHER_KEY),
    write("config/secret_key", "YWJj\n"),
    unreadable_key,
    write("data/instance/key.json", "{"),
    lambda _: {"NO_LOCKS": "1"},
    migrating,
    variable("STORE", "sqlite:///{folder}/nowhere/records.db"),
    no_tables,
    first_password,
    variable("BIND", "127.0.0.1"),
    password_file,
]


@pytest.mark.parametrize("number", range(len(CAUSES_AT_START)))
def test_it_does_not_start(host: Host, number: int) -> None:
    """Each cause stops the start with the sentence that the page quotes, and the log has it as a fault."""
    (quote,) = rows("troubleshooting", "It does not start")[number]
    changes = CAUSES_AT_START[number](host) or {}
    script = NO_LOCKS if changes.pop("NO_LOCKS", "") else ""
    module = "datafor_token.gunicorn_conf" if "DATAFOR_TOKEN_BIND" in changes else "datafor_token.wsgi"
    environ = environment(host.folder, **{**host.absolute(), **changes})
    done = run("-c", f"{script}import {module}", environ=environ)
    assert done.returncode in (1, 3), done.stderr
    lines = [line for line in done.stderr.splitlines() if "event=" in line]
    faults = [logfmt(line)["fault"] for line in lines if 'event="cannot start"' in line]
    assert len(faults) == 1
    assert matches(quote, faults[0]), faults[0]


def test_each_cause_of_the_page() -> None:
    """The page lists as many causes as the test provokes."""
    assert len(rows("troubleshooting", "It does not start")) == len(CAUSES_AT_START)
    # The others: a database that is down, hangs or has lost its standby, one that is slow, and two about sign-ins.
    assert len(rows("troubleshooting", "Why is it 503?")) == len(CAUSES) + len(FURTHER) + 6


def test_the_key_record_is_written_again(host: Host) -> None:
    """After the damaged record of the key was removed, the service starts."""
    (host.data / "instance" / "key.json").unlink()
    host.done("datafor-token settings check")
    server = host.server()
    assert signs_in(server, ADMIN_PASSWORD)
    server.stop()


def test_settings_check(host: Host) -> None:
    """The command prints the same sentences without starting anything."""
    (host.config / "settings.toml").write_text("LEEWAI = 3\n")
    assert "LEEWAI" in host.refused(page("settings check"))


def test_a_port_in_use(host: Host, tmp_path: Path) -> None:
    """A second server logs the event of the page, and does not start."""
    server = host.server()
    try:
        other = Host(tmp_path / "other").server(DATAFOR_TOKEN_BIND=f"127.0.0.1:{server.port}", PYTHONWARNINGS="")
        assert other.stop() != 0
    finally:
        server.stop()
    (quote,) = re.findall(r"`(Connection in use: .+?)`", pages.text("docs/troubleshooting.md"))
    events = [line["event"] for line in read(other.output)]
    assert quote.replace("28080", str(server.port)) in events


@pytest.mark.own_app  # the log has it once in a process
def test_behind_a_proxy(
    caller: Caller, log: io.StringIO, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has what the page quotes about proxies."""
    text = section("troubleshooting", "Behind a proxy").replace("\n", " ")
    post(caller, Origin="https://portal.example")
    (quote,) = re.findall(r"`(expected Origin: .+?)`", text)
    assert matches(f"...{quote}", last(log)["detail"]), last(log)
    (forwarded, loop) = re.findall(r'`event="(.+?)"`', text)
    caller.get(ME, headers={**basic(), "X-Forwarded-For": "10.0.0.1"})
    events = [logfmt(line)["event"] for line in log.getvalue().splitlines()]
    assert forwarded in events
    assert loop in pages.text("docs/audit.md")


def test_ask_without_the_proxy(host: Host) -> None:
    """The service responds on its own port."""
    server = host.server(DATAFOR_TOKEN_URL_PREFIX="/datafor")
    shown = host.done(page("curl -i"), {"127.0.0.1:28080": f"127.0.0.1:{server.port}"})
    server.stop()
    assert '"writable":true' in shown
    assert "X-Request-ID" in shown


def test_the_keys_of_a_provider(host: Host) -> None:
    """The URL of a set of keys shows the set."""
    server = host.server()
    shown = host.done(
        page("curl -sS https"),
        {
            "https://id.example/realms/main/protocol/openid-connect/certs": f"http://127.0.0.1:{server.port}/.well-known/jwks.json"
        },
    )
    server.stop()
    assert '"keys"' in shown


def test_a_damaged_record(host: Host) -> None:
    """A damaged record is found and moved aside; the other records go on, and a backup brings it back."""
    host.done("datafor-token application add ERP --random-secret; datafor-token application add CRM --random-secret")
    record = host.data / "applications" / "erp.json"
    record.write_text("{")
    check = page("datafor-token store check")
    done = host.run(check)
    assert (done.returncode, "erp.json" in done.stdout) == (1, True)
    host.done(page("--repair"))
    assert host.done(check) == "All records are valid\n"
    assert not record.exists()
    assert len(list((host.data / "damaged").iterdir())) == 1
    assert "CRM" in host.done("datafor-token application list")


def test_a_full_disk_and_the_clock(host: Host) -> None:
    """The commands that look at the disk and the clock work."""
    assert "applications" in host.done(page("du -sh"))
    assert host.done(page("timedatectl").splitlines()[0])


def test_every_block_has_a_test() -> None:
    """Each block of commands of the page is run by a test here."""
    assert blocks_without_test("troubleshooting", Path(__file__)) == []
