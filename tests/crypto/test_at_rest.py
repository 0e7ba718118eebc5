"""Data at rest: a copy of the data folder reveals no secret, and data of version 0.1.0 still works."""

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from datafor_token.crypto.at_rest import Keyring
from datafor_token.settings import Settings
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.service import BEFORE, KEYS, NEW, NEWEST, OLD, Service
from tests.stores import KIND, Record, records_in
from tests.support import ADMIN_PASSWORD, API, SAMPLE_APPLICATION, STRONG_SECRET, application

CHECK = "/auth/check"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def upgraded(service: Service) -> Caller:
    """Return the app on data that version 0.1.0 stored."""
    data = service.settings.data_dir
    service.start(OLD)
    for collection in ("applications", "users"):
        for record in records_in(data, collection):
            record.unlink()
    for path, text in BEFORE["files"].items():
        folder, _, name = path.rpartition("/")
        if folder:
            Record(data, folder, name.removesuffix(".json")).write_text(text)
        else:
            (data / name).write_text(text)
    return service.start(OLD)


def all_data(settings: Settings) -> str:
    """Yield everything that the service stores outside of its configuration."""
    texts = [path.read_text(errors="replace") + path.name for path in settings.data_dir.rglob("*") if path.is_file()]
    if KIND != "file":
        collections = ("applications", "users", "sessions", "revocations", "tickets", "instance")
        texts += [
            record.name + record.read_text()
            for collection in collections
            for record in records_in(settings.data_dir, collection)
        ]
    return "\n".join(texts)


def guessable(text: str, secret: str) -> set[str]:
    """Return the unkeyed hashes of a token, in their shortest stored form."""
    signed, _, signature = text.rpartition(".")
    inputs = (text, signed, signature, f"{signed}\0{secret}", f"{signed}{secret}", f"{secret}{signed}", secret)
    digests = {hashlib.new(name, one.encode()).digest() for name in ("sha256", "sha1", "md5") for one in inputs}
    return {digest.hex()[:12] for digest in digests} | {base64.b64encode(digest).decode()[:12] for digest in digests}


def test_no_hash_that_helps_to_guess_a_secret_is_stored(caller: Caller, settings: Settings, log: Any) -> None:
    """Neither the data folder, the database, the log nor the metrics contain an unkeyed hash of a token or secret."""
    caller.post("update", application(secret="abcd", self_service="1"))
    live, gone, expired = token(claims()), token(claims(loginname="otto")), token(claims(exp=1))
    issued = caller.post("generate", {"username": "lena"}).json["token"]
    personal = caller.post("personal").json["token"]
    assert caller.get(CHECK, bearer(live)).status_code == 200
    caller.post("revoke", {"token": gone})
    foreign = token(claims(), secret="other")
    for refused in (gone, expired, foreign, live + "x"):
        assert caller.get(CHECK, bearer(refused)).status_code == 401
    assert caller.get(f"/auth/enter?token={live}&next=/", headers={}).status_code == 303
    # A token in place of a ticket.
    assert caller.get(f"/auth/enter?ticket={live}", headers={}).status_code == 401
    caller.post("introspect", {"token": live})
    caller.post("explain", {"token": live})
    stored = all_data(settings) + log.getvalue() + caller.client.get("/metrics").get_data(as_text=True)
    for text, secret in ((live, "abcd"), (gone, "abcd"), (expired, "abcd"), (issued, "abcd"), (personal, "abcd"),
                         (foreign, "other"), (live + "x", "abcd")):  # fmt: skip
        assert [found for found in guessable(text, secret) if found in stored] == []
        assert text not in stored


@pytest.mark.file_store
def test_a_database_shows_no_more_than_files(service: Service, tmp_path: Path) -> None:
    """A database contains no secret, token, cookie, ticket or password, and no hash that helps to guess one."""
    database = tmp_path / "records.db"
    service.settings = dataclasses.replace(service.settings, store=_tables(database))
    caller = service.start(OLD)
    caller.post("update", application(secret="marked-secret", initpwd="marked-initial"))
    caller.post("rotate", {"name": "ERP", "secret": "marked-second"})
    live, gone = (token(claims(loginname=name), secret="marked-second") for name in ("lena", "otto"))
    caller.post("revoke", {"token": gone})
    gate = caller.get(f"/auth/enter?token={live}&next=/", headers={}).headers["Set-Cookie"].partition(";")[0]
    ticket = caller.post("link", {"username": "lena"}).json["url"].partition("ticket=")[2]
    login = {"username": "admin", "password": ADMIN_PASSWORD}
    cookie = caller.post("/plugin/datafor/api/extension/auth/login", login, headers={}).json["jsessionid"]
    service.start(NEW, OLD)
    service.run("store", "rekey")
    stored = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.glob("records.db*"))
    assert "revocations" in stored
    for secret in ("marked", live, gone, gate.partition("=")[2], ticket, cookie, ADMIN_PASSWORD, OLD, NEW):
        assert secret not in stored
    for text in (live, gone):
        assert [found for found in guessable(text, "marked-second") if found in stored] == []


def _tables(file: Path) -> str:
    from datafor_token.store.sql import schema
    from datafor_token.store.sql.engine import Database

    database = Database(f"sqlite:///{file}", 30, 30)
    schema.create(database)
    database.close()
    return f"sqlite:///{file}"


def events(caller: Caller, **wanted: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    found: list[dict[str, Any]] = caller.get(f"audit?limit=500&{query}").json["data"]
    return found


def respelled(text: str) -> str:
    """Return the token with another signature, which is not valid."""
    return text[:-2] + ("AA" if text[-2:] != "AA" else "BA")


def test_one_token_has_one_identifier(service: Service) -> None:
    """When issued, used, refused and revoked, a token has one identifier in the audit log; `token decode` shows it."""
    caller = service.start(OLD)
    caller.post("update", application(secret=STRONG_SECRET))
    text = caller.post("generate", {"username": "lena"}).json["token"]
    caller.get(CHECK, bearer(text))
    caller.post("revoke", {"token": text})
    caller.get(CHECK, bearer(text))
    service.clock.advance(10**6)
    caller.get(CHECK, bearer(text))
    kinds = [(event["event"], event.get("reason")) for event in events(caller) if "token" in event["target"]]
    assert kinds == [
        ("sign_in_refused", "expired"), ("sign_in_refused", "revoked"), ("token_revoked", None), ("sign_in", None),
        ("token_generated", None),
    ]  # fmt: skip
    (name,) = {event["target"]["token"] for event in events(caller) if "token" in event["target"]}
    assert len(name) == 32
    assert json.loads(service.run("token", "decode", "--json", put=text))["identifiers"] == [name]
    assert name in service.run("token", "decode", put=text)


def test_an_unknown_token_has_an_identifier_too(service: Service) -> None:
    """A token that no application signed is identified by its signed part; another signature does not change that."""
    caller = service.start(OLD)
    caller.post("update", SAMPLE_APPLICATION)
    text = token(claims(), secret="other")
    for sent in (text, respelled(text)):
        caller.get(CHECK, bearer(sent))
        (name,) = {event["target"]["token"] for event in events(caller, event="sign_in_refused")}
        assert json.loads(service.run("token", "decode", "--json", put=sent))["identifiers"] == [name]


def test_a_token_of_a_replaced_secret(service: Service) -> None:
    """`token decode` shows both identifiers of a token from before a rotation: as issued, and as refused now."""
    caller = service.start(OLD)
    caller.post("update", application(secret=STRONG_SECRET))
    text = caller.post("generate", {"username": "lena"}).json["token"]
    caller.post("rotate", {"name": "ERP", "grace": 0})
    assert caller.get(CHECK, bearer(text)).status_code == 401
    named = [event["target"]["token"] for event in events(caller) if "token" in event["target"]]
    assert len(set(named)) == 2
    assert json.loads(service.run("token", "decode", "--json", put=text))["identifiers"] == named[::-1]


def test_the_same_token_of_two_applications(service: Service) -> None:
    """`token decode` shows one identifier for each key that verifies the token, and the same one for the same key."""
    caller = service.start(OLD)
    for name in ("ERP", "CRM"):
        caller.post("update", application(name=name, secret=STRONG_SECRET))
    text = caller.post("generate", {"name": "CRM", "username": "lena"}).json["token"]
    (event,) = events(caller, event="token_generated")
    assert json.loads(service.run("token", "decode", "--json", put=text))["identifiers"] == [event["target"]["token"]]


def test_another_installation_has_other_identifiers(service: Service, settings: Settings, tmp_path: Path) -> None:
    """Identifiers depend on the service's key, so that those of two installations are unrelated."""
    assert Keyring(KEYS[:1]).token_identifier_keys != Keyring(KEYS[1:2]).token_identifier_keys
    assert Keyring(KEYS[:1]).token_identifier_keys == Keyring(KEYS[:1]).token_identifier_keys
    assert Keyring(KEYS[:1]).derive("a") != Keyring(KEYS[:1]).derive("b")


class TestKeyChange:
    """A change of the service's key, as the documentation describes it."""

    def test_revocations_outlive_it(self, service: Service) -> None:
        """A token that was revoked before, during or after a key change stays revoked after the old key is removed."""
        texts = [token(claims(loginname=f"user{number}")) for number in range(4)]
        caller = service.start(OLD)
        caller.post("update", SAMPLE_APPLICATION)
        (old_name,) = self.revoked(caller, texts[0])
        caller = service.start(NEW, OLD)
        self.revoked(caller, texts[1])
        service.run("store", "rekey")
        self.revoked(caller, texts[2])
        caller = service.start(NEW)
        assert [caller.get(CHECK, bearer(one)).status_code for one in texts] == [401, 401, 401, 200]
        assert {event["reason"] for event in events(caller, event="sign_in_refused")} == {"revoked"}
        # Twice: the second change encrypts again what the first one stored.
        service.start(NEWEST, NEW)
        service.run("store", "rekey")
        caller = service.start(NEWEST)
        assert [caller.get(CHECK, bearer(one)).status_code for one in texts] == [401, 401, 401, 200]
        named = json.loads(service.run("token", "decode", "--json", put=texts[0]))["identifiers"]
        assert (len(named), old_name in named) == (3, True)

    def revoked(self, caller: Caller, text: str) -> list[str]:
        before = events(caller, event="token_revoked")
        assert caller.post("revoke", {"token": text}).status_code == 200
        return [event["target"]["token"] for event in events(caller, event="token_revoked")[: -len(before) or None]]

    def test_a_process_that_was_not_restarted(self, service: Service) -> None:
        """While processes are restarted one by one, each of them knows the revocations of the others."""
        first = service.start(OLD)
        first.post("update", SAMPLE_APPLICATION)
        second = service.start(NEW, OLD)
        for number, (here, there) in enumerate(((first, second), (second, first))):
            text = token(claims(loginname=f"user{number}"))
            assert there.get(CHECK, bearer(text)).status_code == 200
            here.post("revoke", {"token": text})
            assert there.get(CHECK, bearer(text)).status_code == 401

    def test_a_gate_session_ends_with_its_token(self, service: Service) -> None:
        """A gate session that was opened before a key change ends when its token is revoked after it."""
        caller = service.start(OLD)
        caller.post("update", SAMPLE_APPLICATION)
        text = token(claims())
        cookie = caller.get(f"/auth/enter?token={text}&next=/", headers={}).headers["Set-Cookie"].partition(";")[0]
        service.start(NEW, OLD)
        service.run("store", "rekey")
        caller = service.start(NEW)
        assert caller.get(CHECK, {"Cookie": cookie}).status_code == 200
        caller.post("revoke", {"token": text})
        assert caller.get(CHECK, {"Cookie": cookie}).status_code == 401

    def test_former_keys_are_encrypted(self, service: Service) -> None:
        """A key change stores the derived keys of the former key encrypted, and reveals neither key."""
        service.start(OLD)
        service.start(NEW, OLD)
        service.run("store", "rekey")
        record = json.loads(Record(service.settings.data_dir, "instance", "former_keys").read_text())
        (sealed,) = record["keys"].values()
        assert sealed.startswith("enc1:")
        stored = all_data(service.settings)
        for key in (*KEYS[:2], *Keyring(KEYS[:2]).token_identifier_keys):
            assert base64.b64encode(key).decode()[:20] not in stored
            assert base64.urlsafe_b64encode(key).decode()[:20] not in stored
            assert key.hex()[:20] not in stored


class TestUpgrade:
    """Data as version 0.1.0 stored it, record by record."""

    def test_a_revoked_token_stays_revoked(self, upgraded: Caller) -> None:
        """A revocation with an unkeyed hash still revokes its token."""
        assert upgraded.get(CHECK, bearer(BEFORE["revoked_token"])).status_code == 401
        assert events(upgraded, event="sign_in_refused")[0]["reason"] == "revoked"
        assert upgraded.get(CHECK, bearer(BEFORE["live_token"])).status_code == 200

    def test_sessions_and_tickets_work(self, upgraded: Caller) -> None:
        """Open sessions stay open, and a one-time link is redeemed once."""
        detail = f"{API.removesuffix('token')}user/detail"
        assert upgraded.get(detail, {"Cookie": f"JSESSIONID={BEFORE['session_cookie']}"}).status_code == 200
        assert upgraded.get(CHECK, {"Cookie": f"datafor_gate={BEFORE['gate_cookie']}"}).status_code == 200
        for status in (303, 401):
            assert upgraded.get(f"/auth/enter?ticket={BEFORE['ticket']}", headers={}).status_code == status

    @pytest.mark.parametrize("rekey", [False, True])
    def test_a_gate_session_ends_with_its_token(self, service: Service, upgraded: Caller, rekey: bool) -> None:
        """A gate session whose record has an unkeyed hash ends when its token is revoked."""
        cookie = {"Cookie": f"datafor_gate={BEFORE['gate_cookie']}"}
        if rekey:
            service.run("store", "rekey")
        assert upgraded.get(CHECK, cookie).status_code == 200
        upgraded.post("revoke", {"token": BEFORE["live_token"]})
        assert upgraded.get(CHECK, cookie).status_code == 401

    @pytest.mark.file_store
    def test_lines_of_the_audit_log_are_shown(self, upgraded: Caller) -> None:
        """Each line that an earlier version wrote is shown unchanged."""
        lines = [json.loads(line) for line in BEFORE["files"]["audit.log"].splitlines()]
        shown = events(upgraded)
        assert [line for line in lines if line not in shown] == []
        assert {"0f1e58aba1c1", "30b87241f520"} <= {event["target"].get("token") for event in shown}

    def test_rekey_renames_unkeyed_records(self, service: Service, upgraded: Caller) -> None:
        """`store rekey` gives keyed identifiers to revocations of earlier versions; they still revoke."""
        service.run("store", "rekey")
        (record,) = records_in(service.settings.data_dir, "revocations")
        assert record.name.startswith("hmac-")
        before = json.loads(next(text for path, text in BEFORE["files"].items() if path.startswith("revocations/")))
        assert json.loads(record.read_text()) == {**before, "name": record.name}
        assert upgraded.get(CHECK, bearer(BEFORE["revoked_token"])).status_code == 401
        assert service.start(OLD).get(CHECK, bearer(BEFORE["revoked_token"])).status_code == 401

    def test_secrets_are_read(self, upgraded: Caller) -> None:
        """Applications and users of the earlier version work unchanged, and so does the secret of a grace period."""
        for name, key in (("ERP", "abcd"), ("CRM", "after"), ("CRM", "before")):
            assert upgraded.post("generate", {"name": name, "privateKey": key}).status_code == 200
        credential = base64.b64encode(b"lena:initial-pw").decode()
        assert upgraded.get(CHECK, {"Authorization": f"Basic {credential}"}).status_code == 200
