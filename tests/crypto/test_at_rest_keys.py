"""Encryption of secrets at rest, and the keys of the installation."""

import base64
import contextlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token import create_app
from datafor_token.crypto import at_rest
from datafor_token.crypto.at_rest import Keyring, load_keyring
from datafor_token.errors import RecordDamaged, StartError
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.processes import environment, first_start, run_command
from tests.stores import Record, unavailable
from tests.support import ADMIN_PASSWORD, SAMPLE_APPLICATION, application, record_of

KEYS = [bytes(range(start, start + 32)) for start in (0, 32, 64)]
NEW, OLD = (base64.urlsafe_b64encode(key).decode() for key in KEYS[:2])


@given(text=st.text(min_size=1), record=st.text(), field=st.text(max_size=9))
def test_a_value_is_decrypted_for_its_field_only(text: str, record: str, field: str) -> None:
    """A value is decrypted only for its record and field, by every keyring that has its key."""
    sealed = Keyring(KEYS[:1]).encrypt(record, field, text)
    assert sealed.startswith("enc1:")
    assert Keyring([KEYS[1], KEYS[0]]).decrypt(record, field, sealed) == text
    for place in ((record + "x", field), (record, field + "x")):
        with pytest.raises(RecordDamaged):
            Keyring(KEYS[:1]).decrypt(*place, sealed)
    with pytest.raises(RecordDamaged):
        Keyring(KEYS[1:]).decrypt(record, field, sealed)


def test_every_change_of_an_encrypted_value_is_detected() -> None:
    """A changed encrypted value is damage or a plain text, but never another secret."""
    sealed = Keyring(KEYS).encrypt("ERP", "secret", "abcd")
    for place in range(len(sealed)):
        for changed in (
            sealed[:place],
            sealed[:place] + "A" + sealed[place:],
            sealed[:place] + "_" + sealed[place + 1 :],
        ):
            if changed == sealed or not changed.startswith("enc1:"):
                continue
            # Unused bits of the last Base64 character do not change the value.
            with contextlib.suppress(RecordDamaged):
                assert Keyring(KEYS).decrypt("ERP", "secret", changed) == "abcd"
                assert base64.urlsafe_b64decode(changed[22:]) == base64.urlsafe_b64decode(sealed[22:])


def test_equal_secrets_are_encrypted_differently() -> None:
    """Two equal secrets have different encrypted values."""
    assert Keyring(KEYS).encrypt("ERP", "secret", "abcd") != Keyring(KEYS).encrypt("ERP", "secret", "abcd")


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(key: str | None = None) -> Flask:
        monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
        if key is None:
            monkeypatch.delenv("DATAFOR_TOKEN_SECRET_KEY", raising=False)
        else:
            monkeypatch.setenv("DATAFOR_TOKEN_SECRET_KEY", key)
        return create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)

    return make


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_the_data_folder_alone_reveals_nothing(make: Any, settings: Settings) -> None:
    """No file of the data folder contains a secret, initial or previous, in plain text or Base64."""
    caller = Caller(make().test_client())
    caller.post("update", application(secret="marked-first", initpwd="marked-initial"))
    caller.post("rotate", {"name": "ERP", "secret": "marked-second"})
    caller.post("generate", {"name": "ERP"})
    data = everything(settings.data_dir)
    for secret in (b"marked-first", b"marked-second", b"marked-initial"):
        assert secret not in data
        assert base64.b64encode(secret)[:12] not in data
    record = record_of(settings.config_dir, settings.data_dir, "erp")
    assert (record["secret"], record["previous"]["secret"], record["initpwd"]) == (
        "marked-second", "marked-first", "marked-initial",
    )  # fmt: skip


def test_the_key_is_created_once(make: Any, settings: Settings) -> None:
    """The first start creates a key of 32 bytes with mode 0600, and later starts use it."""
    make()
    path = settings.config_dir / "secret_key"
    assert len(base64.urlsafe_b64decode(path.read_text())) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    make()
    assert path.read_bytes() == before
    assert sorted(one.name for one in settings.config_dir.iterdir()) == [".last_store_id", "secret_key", "store_id"]


@pytest.mark.parametrize("key", ["", "short", NEW + "x", "A" * 43 + "=", "!" * 44, f"{NEW},", f"{NEW},x"])
def test_keys_that_are_not_valid(make: Any, settings: Settings, key: str) -> None:
    """A key that is empty, short, not Base64 or all the same byte stops the start, and is not repeated."""
    with pytest.raises(StartError, match="DATAFOR_TOKEN_SECRET_KEY") as caught:
        make(key)
    assert len(key) < 5 or key not in str(caught.value)
    assert not list(settings.data_dir.rglob("*.json"))


def test_the_wrong_key_changes_nothing(make: Any, settings: Settings) -> None:
    """With a foreign key or without a key, the start stops with a message, and no file is changed."""
    Caller(make(OLD).test_client()).post("update", SAMPLE_APPLICATION)
    before = everything(settings.data_dir)
    with pytest.raises(StartError, match="is not the key of these records"):
        make(NEW)
    with pytest.raises(StartError, match="secret_key is missing"):
        make()
    assert everything(settings.data_dir) == before
    assert not (settings.config_dir / "secret_key").exists()
    assert Caller(make(OLD).test_client()).post("generate", {}).status_code == 200


@pytest.mark.parametrize("record", [None, '{"name": "key"}'])
def test_the_wrong_key_without_the_record_of_the_right_one(make: Any, settings: Settings, record: str | None) -> None:
    """If the record of the key is missing or incomplete, a foreign or missing key still stops the start."""
    Caller(make(OLD).test_client()).post("update", SAMPLE_APPLICATION)
    path = Record(settings.data_dir, "instance", "key")
    path.unlink() if record is None else path.write_text(record)
    before = everything(settings.data_dir)
    for key in (NEW, None):
        with pytest.raises(StartError):
            make(key)
    assert everything(settings.data_dir) == before
    assert not (settings.config_dir / "secret_key").exists()
    assert Caller(make(OLD).test_client()).post("generate", {}).status_code == 200


def test_the_key_is_synced_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key file is synced before it gets its name, and its folder before any record is created."""
    seen: list[str] = []
    whole_fsync, whole_link = os.fsync, Path.hardlink_to

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        seen.append("key file" if name.startswith(".secret_key") else name)
        whole_fsync(descriptor)

    def link(self: Path, target: Path) -> None:
        seen.append("link")
        whole_link(self, target)

    store = FileStore(settings.data_dir, ("applications", "instance"), lock_timeout=1)
    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr(Path, "hardlink_to", link)
    load_keyring(settings.config_dir, {}, store)
    assert seen[:3] == ["key file", "link", "config"]
    assert len(seen) > 3


def test_an_existing_key_is_never_replaced(settings: Settings) -> None:
    """Concurrent first starts use the key of the first; the remains of a killed one are removed later."""
    path = settings.config_dir / "secret_key"
    at_rest._create_key_file(path)
    before = path.read_bytes()
    at_rest._create_key_file(path)
    assert path.read_bytes() == before
    for name, age in ((".secret_key-old", 100), (".secret_key-new", 0)):
        (settings.config_dir / name).write_text("x")
        os.utime(settings.config_dir / name, (time.time() - age, time.time() - age))
    at_rest._sweep(settings.config_dir)
    assert sorted(one.name for one in settings.config_dir.iterdir()) == [".secret_key-new", "secret_key"]


def test_former_keys_and_rekey(make: Any, settings: Settings) -> None:
    """With the new key in front, both keys decrypt; after a rekey the old key can be removed."""
    caller = Caller(make(OLD).test_client())
    for name in ("ERP", "CRM"):
        caller.post("update", application(name=name, initpwd="pw"))
    caller.post("rotate", {"name": "CRM", "secret": "new"})
    app = make(f"{NEW},{OLD}")
    assert Caller(app.test_client()).post("generate", {"name": "ERP"}).status_code == 200
    with pytest.raises(StartError):
        make(NEW)
    for _ in range(2):
        result = invoke(app, ["store", "rekey"])
        assert (result.exit_code, result.output.split()[0]) == (0, "2")
    caller = Caller(make(NEW).test_client())
    for key in ("abcd", "new"):
        assert caller.post("generate", {"name": "CRM", "privateKey": key}).status_code == 200
    with pytest.raises(StartError):
        make(OLD)


def test_rekey_after_a_failure(make: Any, settings: Settings) -> None:
    """A rekey that finds a damaged record changes nothing and reports it; after a repair it succeeds."""
    Caller(make(OLD).test_client()).post("update", SAMPLE_APPLICATION)
    bad = Record(settings.data_dir, "applications", "bad")
    bad.write_text("{")
    app = make(f"{NEW},{OLD}")
    result = invoke(app, ["store", "rekey"])
    assert (result.exit_code, "bad" in result.output) == (1, True)
    bad.unlink()
    with unavailable(settings.data_dir, "applications"):
        assert invoke(app, ["store", "rekey"]).exit_code == 3
    assert invoke(app, ["store", "rekey"]).exit_code == 0
    make(NEW)


def test_rekey_from_a_terminal(tmp_path: Path) -> None:
    """`datafor-token store rekey` finds the application without further options."""
    first_start(environment(tmp_path))
    done = run_command(tmp_path, "store", "rekey")
    assert done.returncode == 0, done.stderr
    assert "0 applications are encrypted with the key" in done.stderr


def test_a_secret_written_by_hand(make: Any, settings: Settings) -> None:
    """A plain secret in a record is valid, and is encrypted at the record's next write."""
    caller = Caller(make().test_client())
    caller.post("update", SAMPLE_APPLICATION)
    path = Record(settings.data_dir, "applications", "erp")
    path.write_text(json.dumps({**json.loads(path.read_text()), "secret": "by-hand"}))
    assert caller.post("generate", {"name": "ERP", "privateKey": "by-hand"}).status_code == 200
    assert "by-hand" in path.read_text()
    caller.post("update", application(secret=None))
    assert "by-hand" not in path.read_text()
    assert caller.post("generate", {"name": "ERP", "privateKey": "by-hand"}).status_code == 200


def test_secrets_cannot_be_swapped(make: Any, settings: Settings) -> None:
    """An encrypted value that was copied to another record or field is damage."""
    caller = Caller(make().test_client())
    caller.post("update", application(initpwd="pw"))
    caller.post("update", application(name="CRM", secret="other"))
    path = Record(settings.data_dir, "applications", "erp")
    whole = json.loads(path.read_text())
    other = json.loads(Record(settings.data_dir, "applications", "crm").read_text())
    for change in ({"secret": other["secret"]}, {"secret": whole["initpwd"]}, {"initpwd": whole["secret"]}):
        path.write_text(json.dumps({**whole, **change}))
        assert caller.post("generate", {"name": "ERP"}).status_code == 503
        assert caller.post("generate", {"name": "CRM"}).status_code == 200
