"""Keys of signed identities: their creation, rotation and storage."""

import base64
import dataclasses
import gzip
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.audit.events import Origin
from datafor_token.crypto import pem
from datafor_token.crypto.keys import new_key_pair
from datafor_token.errors import StoreUnavailable
from datafor_token.operations.installation import Opener
from datafor_token.operations.services import open_services
from datafor_token.settings import Settings
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import claims, token
from tests.log_lines import read
from tests.service import NEW, OLD, Service
from tests.stores import Record, unavailable
from tests.support import STRONG_SECRET, Clock, application, basic, token_parts
from tests.web.api.test_gate import check
from tests.web.api.test_gate_assertion import HEADER, JWKS, PUBLIC_URL, keys_of

PLAIN = pem.of_private_key(new_key_pair().private.material)
MINUTE, STEP, DAY = 60, 21600, 86400


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, gate_assertion=True, public_url=PUBLIC_URL)


def kids(app: Flask) -> list[str]:
    """Return the ``kid`` of each published key, in the order in which they sign."""
    return [key["kid"] for key in keys_of(app)]


def signs(app: Flask) -> str:
    """Return the ``kid`` of an assertion, after the rotation that it may have begun has ended."""
    found = check(app, **basic())
    assert found.status_code == 200, found.get_data()
    for thread in threading.enumerate():
        if thread.name == "gate keys":
            thread.join(20)
    return str(token_parts(found.headers[HEADER])[0]["kid"])


def record(settings: Settings) -> Record:
    return Record(settings.data_dir, "instance", "gate_keys")


def rotations(caller: Caller) -> list[dict[str, Any]]:
    """Return the events of rotations, oldest first."""
    events: list[dict[str, Any]] = caller.get("audit?event=gate_key_rotated&limit=1000").json["data"]
    return events[::-1]


class TestRotation:
    """Rotation with overlap."""

    def test_a_year(self, app: Flask, caller: Caller, clock: Clock) -> None:
        """A key signs for 30 days, is published a day before, and for a day and a minute after."""
        signed: dict[str, list[float]] = {}
        published: dict[str, list[float]] = {}
        start = clock.now
        for _ in range(90 * DAY // STEP):
            kid, known = signs(app), kids(app)
            # A set that was fetched up to a day ago has the key too: see below.
            assert kid in known
            for name, one in [*((each, published) for each in known), (kid, signed)]:
                one.setdefault(name, []).append((clock.now - start) / DAY)
            clock.advance(STEP)
        spans = [(times[0], times[-1]) for times in signed.values()]
        assert spans == [(0, 29.75), (30, 59.75), (60, 89.75)]
        shown = [(times[0], times[-1]) for times in published.values()]
        assert shown[:2] == [(0, 31), (29, 61)]
        # A key that is no longer published is not stored either.
        assert len(json.loads(record(services_in(app).settings).read_text())["keys"]) == len(kids(app))
        events = rotations(caller)
        assert [event["after"]["kid"] for event in events] == list(published)
        assert [event.get("before", {}).get("kid") for event in events] == [None, *list(published)[:-1]]
        # The actor is the system user, not the sender of the request that noticed that a rotation was due.
        assert "admin" not in {event["actor"] for event in events}

    def test_the_last_assertion_of_a_key(self, app: Flask, clock: Clock) -> None:
        """The key is published while an assertion that it signed is valid and a cache of a day may have it."""
        first = signs(app)
        clock.advance(29 * DAY)
        signs(app)
        clock.advance(DAY - 1)
        assert signs(app) == first
        clock.advance(1)
        assert signs(app) != first
        clock.advance(DAY + MINUTE - 0.001)
        assert first in kids(app)
        clock.advance(0.001)
        assert first not in kids(app)

    def test_after_a_long_stop(self, app: Flask, clock: Clock) -> None:
        """A key that is too old after a stop of months signs for the day in which the next one is published."""
        first = signs(app)
        clock.advance(200 * DAY)
        assert signs(app) == first
        assert len(kids(app)) == 2
        clock.advance(DAY)
        assert signs(app) == kids(app)[1] != first

    def test_a_command(self, app: Flask, caller: Caller, clock: Clock) -> None:
        """The command publishes a new key, which signs a day later; a second one is refused until then."""
        first = signs(app)
        done = invoke(app, ["gate", "rotate-key", "--json"])
        assert done.exit_code == 0, done.output
        following = json.loads(done.stdout)
        assert (kids(app), signs(app)) == ([first, following["kid"]], first)
        assert following["signs_from"] == "2024-08-07T07:31:56.000Z"
        again = invoke(app, ["gate", "rotate-key"])
        assert (again.exit_code, "signs from 2024-08-07T07:31:56.000Z" in again.output) == (1, True)
        clock.advance(DAY)
        assert signs(app) == following["kid"]
        assert rotations(caller)[-1]["way"] == "command"

    @pytest.mark.parametrize("pending", [False, True])
    def test_at_once(self, app: Flask, caller: Caller, pending: bool) -> None:
        """In an emergency all other keys are dropped, and the next check is signed with the new key."""
        first = signs(app)
        if pending:
            assert invoke(app, ["gate", "rotate-key"]).exit_code == 0
        assert invoke(app, ["gate", "rotate-key", "--at-once"]).exit_code == 0
        assert [signs(app)] == kids(app)
        assert first not in kids(app)
        assert rotations(caller)[-1]["before"] == {"kid": first}

    def test_another_worker(self, app: Flask, settings: Settings, clock: Clock) -> None:
        """A rotation is used by every worker at its next check."""
        other = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
        assert signs(other) == signs(app)
        assert invoke(app, ["gate", "rotate-key", "--at-once"]).exit_code == 0
        assert [signs(other)] == kids(other) == kids(app)

    def test_two_workers_at_once(self, app: Flask, settings: Settings, clock: Clock) -> None:
        """Of several workers that find a rotation due, one rotates."""
        apps = [app, *(create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY) for _ in range(3))]
        clock.advance(29 * DAY)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: services_in(one).assertion_keys.maintain(), apps))
        assert {tuple(kids(one)) for one in apps} == {tuple(kids(app))}
        assert len(kids(app)) == 2

    def test_the_setting_is_false(self, app: Flask, settings: Settings) -> None:
        """The command is refused while nothing is signed."""
        off = create_app(dataclasses.replace(settings, gate_assertion=False), hasher=CHEAP_FOR_TESTS_ONLY)
        refused = invoke(off, ["gate", "rotate-key"])
        assert (refused.exit_code, "GATE_ASSERTION is false" in refused.output) == (1, True)
        assert len(kids(app)) == 1


class TestFirstKey:
    """The first key."""

    def test_nodes_that_start_at_once(self, settings: Settings, clock: Clock, caller: Caller) -> None:
        """Nodes that start at once with the setting agree on one key."""
        record(settings).unlink()
        # Without Flask: in Python 3.11, threads that compile at once, as its URL rules do, can fail.
        with ThreadPoolExecutor(4) as pool:
            starts = [
                pool.submit(open_services, settings, Opener.SERVER, Origin.of_command, clock, CHEAP_FOR_TESTS_ONLY)
                for _ in range(4)
            ]
        found = [start.result().assertion_keys for start in starts]
        (kid,) = {one.signing().kid for one in found}
        assert [key.kid for key in found[0].published()] == [kid]
        # One for the start of the fixture.
        assert len(rotations(caller)) == 2

    def test_a_command_creates_none(self, app: Flask, settings: Settings) -> None:
        """A command creates no key, and says that the server does."""
        record(settings).unlink()
        refused = invoke(app, ["gate", "rotate-key"])
        assert (refused.exit_code, "the server creates it when it starts" in refused.output) == (1, True)
        assert not record(settings).exists()

    @pytest.mark.usefixtures("app")
    def test_only_with_the_setting(self, settings: Settings) -> None:
        """Without the setting, a start creates no key."""
        record(settings).unlink()
        create_app(dataclasses.replace(settings, gate_assertion=False), hasher=CHEAP_FOR_TESTS_ONLY)
        assert not record(settings).exists()

    def test_a_removed_record(self, app: Flask, settings: Settings) -> None:
        """After the record was removed, the next check signs with a new key."""
        first = signs(app)
        record(settings).unlink()
        assert [signs(app)] == kids(app) != [first]


class TestOutage:
    """Stores that cannot be written or read, and damaged records."""

    def test_a_store_that_cannot_be_written(
        self, app: Flask, clock: Clock, log: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The known key signs on while no other one can be stored, and the log says so once a minute."""
        first = signs(app)
        clock.advance(35 * DAY)

        def refused(*_: object, **__: object) -> None:
            raise StoreUnavailable(reason="read-only")

        with monkeypatch.context() as read_only:
            read_only.setattr(services_in(app).store, "update", refused)
            for _ in range(5):
                assert signs(app) == first
                clock.advance(20)
        lines = [line for line in read(log.getvalue()) if line["event"].startswith("key of signed identities not")]
        assert [line["reason"] for line in lines] == ["read-only"] * 2
        clock.advance(MINUTE)
        signs(app)
        assert len(kids(app)) == 2

    @pytest.mark.usefixtures("app")
    def test_a_start_with_a_store_that_cannot_be_written(
        self, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The service starts without a key, checks are 503, and the first one after the outage creates the key."""
        record(settings).unlink()
        keys = "datafor_token.gate.assertion_keys.AssertionKeys._change"

        def refused(*_: object) -> None:
            raise StoreUnavailable(reason="read-only")

        with monkeypatch.context() as read_only:
            read_only.setattr(keys, refused)
            other = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
            assert check(other, **basic()).status_code == 503
        assert [signs(other)] == kids(other)

    def test_an_outage(self, app: Flask, settings: Settings) -> None:
        """In an outage of the store the known key signs, and is published."""
        kid = signs(app)
        with unavailable(settings.data_dir, "instance"):
            keys = services_in(app).assertion_keys
            assert keys.signing().kid == kid
            assert [key.kid for key in keys.published()] == [kid]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda _: "{",
            lambda document: json.dumps({**document, "format": 2}),
            lambda document: json.dumps({**document, "keys": []}),
            lambda document: json.dumps({**document, "keys": [{}]}),
            lambda document: json.dumps({**document, "keys": [{**document["keys"][0], "kid": "other"}]}),
            lambda document: json.dumps({**document, "keys": [{**document["keys"][0], "private_sealed": PLAIN}]}),
        ],
    )
    def test_a_damaged_record(
        self, app: Flask, settings: Settings, log: Any, damage: Callable[[dict[str, Any]], str]
    ) -> None:
        """An accepted check is 503 and the log says what to do; a refused one stays as it is, and so does the start."""
        signs(app)
        record(settings).write_text(damage(json.loads(record(settings).read_text())))
        for one in (app, create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)):
            assert check(one).status_code == 401
            assert check(one, query="?role=Board", **basic()).status_code == 403
            assert check(one, **basic()).status_code == one.test_client().get(JWKS).status_code == 503
        reason = next(line["reason"] for line in read(log.getvalue()) if line.get("status") == 503)
        assert reason.startswith("instance/gate_keys")
        assert "restore this record from a backup, or remove it" in reason
        checked = invoke(app, ["store", "check"])
        assert (checked.exit_code, "gate_keys" in checked.output) == (1, True)
        record(settings).unlink()
        signs(app)

    def test_tokens_beside_a_damaged_record(self, app: Flask, settings: Settings, caller: Caller) -> None:
        """While the own keys are damaged, tokens that name a key of their issuer sign in to calls as before."""
        assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 200
        bearer = token(claims(), STRONG_SECRET, {"typ": "JWT", "alg": "HS256", "kid": "k1"})
        record(settings).write_text("{")
        found = app.test_client().get(
            "/plugin/datafor-modeler/api/user/detail", headers={"Authorization": f"Bearer {bearer}"}
        )
        assert found.status_code == 200, found.get_data()


class TestStorage:
    """The stored key."""

    def test_it_is_encrypted(self, app: Flask, settings: Settings) -> None:
        """The record has no key in plain text, and its key is bound to its record."""
        stored = record(settings).read_text()
        private = services_in(app).assertion_keys.signing().material.private_numbers().private_value
        assert "PRIVATE" not in stored
        assert base64.urlsafe_b64encode(private.to_bytes(32, "big"))[:20].decode() not in stored
        (key,) = json.loads(stored)["keys"]
        assert sorted(key) == ["kid", "private_sealed", "signsFrom"]
        assert key["private_sealed"].startswith("enc1:")

    def test_unknown_members_stay(self, app: Flask, settings: Settings) -> None:
        """Members of the record that this version does not know are written back."""
        document = json.loads(record(settings).read_text())
        record(settings).write_text(json.dumps({**document, "later": 1}))
        assert invoke(app, ["gate", "rotate-key"]).exit_code == 0
        assert json.loads(record(settings).read_text())["later"] == 1

    def test_rekey(self, service: Service) -> None:
        """A change of the encryption key leaves the keys as they are, and needs the old one no longer."""
        service.start(OLD)
        before = kids(service.app)
        service.start(NEW, OLD)
        service.run("store", "rekey")
        service.start(NEW)
        assert [signs(service.app)] == kids(service.app) == before


@pytest.mark.file_store
class TestBackup:
    """Backup and restore."""

    def test_the_key_is_encrypted(self, service: Service, tmp_path: Path) -> None:
        """A backup has the key as it is stored, encrypted."""
        service.start(OLD)
        service.run("store", "backup", str(tmp_path / "backup"))
        lines = [json.loads(line) for line in gzip.decompress((tmp_path / "backup").read_bytes()).splitlines()]
        (found,) = (one["document"] for one in lines if one.get("document", {}).get("name") == "gate_keys")
        assert found == json.loads(record(service.settings).read_text())

    def test_a_new_store(self, service: Service, tmp_path: Path) -> None:
        """Restored into a store without a key, and with another encryption key, a backup brings its key along."""
        service.start(OLD)
        before = kids(service.app)
        service.run("store", "backup", str(tmp_path / "backup"))
        record(service.settings).unlink()
        service.start(NEW, OLD)
        service.run("store", "rekey")
        record(service.settings).unlink()
        service.run("store", "restore", str(tmp_path / "backup"), "--yes")
        service.start(NEW)
        assert [signs(service.app)] == kids(service.app) == before

    def test_an_old_backup(self, service: Service, tmp_path: Path) -> None:
        """A restore does not bring back a key that was dropped since the backup."""
        service.start(OLD)
        (dropped,) = kids(service.app)
        service.run("store", "backup", str(tmp_path / "backup"))
        service.run("gate", "rotate-key", "--at-once")
        present = kids(service.app)
        service.run("store", "restore", str(tmp_path / "backup"), "--yes")
        service.start(OLD)
        assert kids(service.app) == present != [dropped]
