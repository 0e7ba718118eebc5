"""Members of a record that this version does not know are preserved by every writer."""

import gc
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from datafor_token import create_app
from tests.conftest import Caller, services_in
from tests.handmade_tokens import claims, token
from tests.service import NEW, OLD, Service
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, application

UNKNOWN = {"colour": "red", "deep": {"list": [1, {"x": None}], "text": "é\u2028"}}


def add_unknown(record: Record) -> None:
    """Add unknown members to the record, to its field map and to its previous secret, as a later version might."""
    document = json.loads(record.read_text())
    for part in (document, document.get("fieldmap"), document.get("previous")):
        if part is not None:
            part.update(UNKNOWN)
    record.write_text(json.dumps(document))


def missing(record: Record, parts: tuple[str, ...]) -> list[str]:
    """Return the parts of the record whose unknown members were changed."""
    document = json.loads(record.read_text())
    found = {"": document, **{part: document.get(part) for part in ("fieldmap", "previous")}}
    return [
        part for part in parts if found[part] is None or {name: found[part].get(name) for name in UNKNOWN} != UNKNOWN
    ]


class Form(HTMLParser):
    """The fields of a form on a page, as a browser sends them without changes."""

    def __init__(self, page: str, action: str) -> None:
        super().__init__()
        self._action, self._inside, self._select = action, False, ""
        self._area: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = about.get("action", "").endswith(self._action)
        name = about.get("name", "")
        if not self._inside:
            return
        if tag == "input" and name and (about.get("type") not in ("checkbox", "radio") or "checked" in about):
            self.fields[name] = about.get("value", "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in about or self._select not in self.fields):
            self.fields[self._select] = about.get("value", "")
        elif tag == "textarea":
            self._area = name
            self.fields[name] = ""

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self.fields[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            # In HTML, a line break right after the tag is not part of the text.
            self.fields[self._area] = self.fields[self._area].removeprefix("\n")
            self._area = None
        elif tag == "form":
            self._inside = False


def by_console(caller: Caller, action: str, page: str, **changes: str) -> None:
    """Send a form of the console, as an Administrator's browser does."""
    client = caller.client.application.test_client()
    login = {"username": "admin", "password": ADMIN_PASSWORD}
    assert client.post("/plugin/datafor/api/extension/auth/login", json=login).status_code == 200
    form = Form(client.get(f"/console/{page}").get_data(as_text=True), action)
    assert "form_token" in form.fields, form.fields
    response = client.post(f"/console/{action.lstrip('/')}", data={**form.fields, **changes})
    assert response.status_code == 303, response.get_data(as_text=True)


ALL, TOP = ("", "fieldmap", "previous"), ("", "fieldmap")


def _save(_: Service, caller: Caller) -> None:
    assert caller.post("update", application(secret=None, expire=60)).status_code == 200


def _new_secret(_: Service, caller: Caller) -> None:
    assert caller.post("update", application(secret="yet another")).status_code == 200


def _rotate(_: Service, caller: Caller) -> None:
    assert caller.post("rotate", {"name": "ERP", "secret": "yet another"}).status_code == 200


def _use(_: Service, caller: Caller) -> None:
    assert caller.post("generate", {"name": "ERP", "privateKey": "abcd"}).status_code == 200


def _set(service: Service, _: Caller) -> None:
    service.run("application", "set", "ERP", "--expire", "60", "--claim-email", "mail")


def _disable(service: Service, _: Caller) -> None:
    service.run("application", "disable", "ERP")


def _apply(service: Service, _: Caller) -> None:
    file = service.settings.data_dir.parent / "applications.toml"
    file.write_text(service.run("application", "export").replace("expire = 86400", "expire = 60"))
    assert "1 changed" in service.run("application", "apply", str(file))


def _console_save(_: Service, caller: Caller) -> None:
    by_console(caller, "/applications/ERP/settings", "applications/ERP/settings", expire="2")


def _console_disable(_: Service, caller: Caller) -> None:
    by_console(caller, "/applications/ERP/disable", "applications/ERP/disable")


def _rekey(service: Service, _: Caller) -> None:
    service.start(NEW, OLD)
    service.run("store", "rekey")


WRITERS: list[tuple[Callable[[Service, Caller], None], tuple[str, ...]]] = [
    (_save, ALL),
    # These replace or remove the previous secret.
    (_new_secret, TOP),
    (_rotate, TOP),
    (_use, ALL),
    (_set, ALL),
    (_disable, ALL),
    (_apply, ALL),
    (_console_save, ALL),
    (_console_disable, ALL),
    (_rekey, ALL),
]


@pytest.mark.parametrize(("write", "parts"), WRITERS, ids=[write.__name__.strip("_") for write, _ in WRITERS])
def test_writers_of_an_application(service: Service, write: Any, parts: tuple[str, ...]) -> None:
    """Each call, command and form that writes an application preserves its unknown members."""
    caller = service.start(OLD)
    caller.post("update", application(initpwd="initial-pw"))
    caller.post("rotate", {"name": "ERP", "secret": "another"})
    record = Record(service.settings.data_dir, "applications", "erp")
    add_unknown(record)
    before = record.read_text()
    write(service, caller)
    assert record.read_text() != before
    assert missing(record, parts) == []


USER_WRITERS: list[Callable[[Service, Caller], object]] = [
    lambda service, _: service.run("user", "set", "lena", "--email", "lena@example.com"),
    lambda service, _: service.run("user", "passwd", "lena", put="another-long-password"),
    lambda service, _: service.run("user", "disable", "lena"),
]


@pytest.mark.parametrize("write", USER_WRITERS, ids=["set", "password", "disable"])
def test_writers_of_a_user(service: Service, write: Any) -> None:
    """Each command that writes a user preserves its unknown members."""
    caller = service.start(OLD)
    service.run("user", "add", "lena", put="a-long-password")
    record = Record(service.settings.data_dir, "users", "lena")
    add_unknown(record)
    before = record.read_text()
    write(service, caller)
    assert record.read_text() != before
    assert missing(record, ("",)) == []


def test_a_change_of_ones_own_password(service: Service) -> None:
    """A change of one's own password preserves the unknown members of the user."""
    caller = service.start(OLD)
    record = Record(service.settings.data_dir, "users", "admin")
    add_unknown(record)
    body = {"old": ADMIN_PASSWORD, "new": "another-long-password"}
    assert caller.post("/plugin/datafor-modeler/api/user/password", body).status_code == 200
    assert missing(record, ("",)) == []


def test_the_use_of_a_session(service: Service) -> None:
    """An update of a session's last use preserves its unknown members."""
    caller = service.start(OLD)
    caller.post("update", application())
    cookie = (
        caller.get(f"/auth/enter?token={token(claims())}&next=/", headers={}).headers["Set-Cookie"].partition(";")[0]
    )
    (name,) = services_in(caller.client.application).store.names("sessions")
    record = Record(service.settings.data_dir, "sessions", name)
    add_unknown(record)
    service.clock.advance(120)
    before = record.read_text()
    assert caller.get("/auth/check", {"Cookie": cookie}).status_code == 200
    assert record.read_text() != before
    assert missing(record, ("",)) == []


def test_a_key_change(service: Service) -> None:
    """A key change preserves the unknown members of the records about keys."""
    service.start(OLD)
    record = Record(service.settings.data_dir, "instance", "key")
    add_unknown(record)
    service.start(NEW, OLD)
    service.run("store", "rekey")
    assert missing(record, ("",)) == []
    former = Record(service.settings.data_dir, "instance", "former_keys")
    add_unknown(former)
    service.run("store", "rekey")
    assert missing(former, ("",)) == []


@pytest.mark.file_store
@pytest.mark.parametrize("keys", [(OLD,), (NEW, OLD)])
def test_a_backup(service: Service, tmp_path: Path, keys: tuple[str, ...]) -> None:
    """A backup and its restore preserve unknown members, also if the restore encrypts with another key."""
    caller = service.start(OLD)
    caller.post("update", application(initpwd="initial-pw"))
    caller.post("rotate", {"name": "ERP", "secret": "another"})
    caller.post("revoke", {"token": token(claims(), secret="another")})
    data = service.settings.data_dir
    (revocation,) = services_in(caller.client.application).store.names("revocations")
    records = [
        Record(data, "applications", "erp"),
        Record(data, "users", "admin"),
        Record(data, "revocations", revocation),
    ]
    for record in records:
        add_unknown(record)
    service.run("store", "backup", str(tmp_path / "backup.gz"))
    for record in records:
        record.write_text("x")
    service.start(*keys)
    service.run("store", "restore", str(tmp_path / "backup.gz"), "--yes")
    assert [missing(record, ("",)) for record in records] == [[], [], []]
    assert missing(records[0], ALL) == []


@pytest.mark.file_store
@pytest.mark.own_app
def test_a_migration(service: Service, tmp_path: Path) -> None:
    """A migration copies all members of a record in their order."""
    caller = service.start(OLD)
    caller.post("update", application())
    caller.post("rotate", {"name": "ERP", "secret": "another"})
    record = Record(service.settings.data_dir, "applications", "erp")
    add_unknown(record)
    # The server ends, as no migration runs beside it; the command has the services of a command.
    del caller, service.app
    gc.collect()
    service.app = create_app(service.settings, clock=service.clock, begin=False)
    service.run("store", "migrate", "--to", f"sqlite:///{tmp_path}/records.db")
    before = json.loads(record.read_text())
    (service.settings.data_dir).rename(tmp_path / "old")
    other = Service(_with_store(service, f"sqlite:///{tmp_path}/records.db"), service.clock)
    other.start(OLD)
    found = services_in(other.app).store.get("applications", "ERP")
    assert found is not None
    assert list(found.items()) == list(before.items())


def _with_store(service: Service, store: str) -> Any:
    import dataclasses

    return dataclasses.replace(service.settings, store=store)
