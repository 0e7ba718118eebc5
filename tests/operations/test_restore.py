"""Functions of a backup and a restore, on records without a service: each test takes milliseconds."""

import dataclasses
import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from datafor_token.applications.sealing import Sealer
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import Forbidden
from datafor_token.operations import backup, restore
from datafor_token.operations.backup import Records
from datafor_token.operations.store_identity import identifier_record
from datafor_token.store.base import Document
from datafor_token.tokens.cut_offs import CutOff
from datafor_token.users.users import User
from tests.handmade_tokens import NOW
from tests.service import KEYS
from tests.support import STRONG_SECRET, application

FIRST, SECOND = Keyring(KEYS[:1]), Keyring(KEYS[1:2])
BOTH = Keyring([KEYS[1], KEYS[0]])  # the second key encrypts
IDENTIFIER = "0" * 32
USER = {**User(name="Lena").to_document(), "type": "SYS_Reader"}
ADMIN = {**User(name="admin").to_document(), "type": "Administrator"}
REVOCATION = {"format": 1, "name": "a" * 64, "expires": 2_000_000_000}
ERP = {"format": 1, **application(secret=STRONG_SECRET)}
RECORDS: Records = [
    ("applications", ERP),
    ("users", ADMIN),
    ("users", USER),
    ("revocations", REVOCATION),
    ("instance", identifier_record(IDENTIFIER)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.gz"


class TestWrite:
    """A backup is complete and durable before it replaces an older one."""

    def test_round_trip(self, file: Path) -> None:
        """A backup has the records of its collections in their order, and counts those without the service's own."""
        others = [("sessions", {"name": "x"}), ("tickets", {"name": "x"}), ("instance", {"name": "key"})]
        assert backup.write(file, [*RECORDS, *others], FIRST) == 4
        assert backup.read(file, FIRST) == backup.Backup(RECORDS, FIRST.identifier, True)

    def test_the_order_of_system_calls(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The new file is synced, then renamed over the older one, then the folder is synced."""
        file.write_text("older")
        calls = []

        def logged(name: str) -> Callable[..., Any]:
            whole = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                is_complete = file.read_bytes() != b"older" and name == "fsync"
                calls.append(f"{name} after the rename" if is_complete else name)
                return whole(*arguments, **options)

            return call

        for name in ("fsync", "rename"):
            monkeypatch.setattr(os, name, logged(name))
        backup.write(file, RECORDS, FIRST)
        assert calls == ["fsync", "rename", "fsync after the rename"]

    @pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
    def test_a_failed_write(self, file: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
        """A write that fails leaves the older file and no other one, and the error has the reason."""
        file.write_text("older")

        def failing(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as full:
            full.setattr(os, fails, failing)
            with pytest.raises(Forbidden, match="No space left on device"):
                backup.write(file, RECORDS, FIRST)
        assert [path.name for path in file.parent.iterdir()] == ["backup.gz"]
        assert file.read_text() == "older"

    def test_limits(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A backup that is exactly as large as allowed is written and read; a larger one is not written."""
        monkeypatch.setattr(backup, "MAX_RECORDS", len(RECORDS))
        backup.write(file, RECORDS, FIRST)
        size = len(gzip.decompress(file.read_bytes()))
        monkeypatch.setattr(backup, "_MIN_LINE", 1)
        monkeypatch.setattr(backup, "MAX_SIZE", size)
        assert backup.read(file, FIRST).is_authentic
        for name, limit in (("MAX_SIZE", size - 1), ("MAX_RECORDS", len(RECORDS) - 1), ("_MIN_LINE", size)):
            with monkeypatch.context() as limited:
                limited.setattr(backup, name, limit)
                with pytest.raises(Forbidden, match="larger than a backup of its kind"):
                    backup.read(file, FIRST)
        file.unlink()
        for name, limit in (("MAX_SIZE", 100), ("MAX_RECORDS", len(RECORDS) - 1)):
            with monkeypatch.context() as limited:
                limited.setattr(backup, name, limit)
                with pytest.raises(Forbidden, match="more than a backup may have"):
                    backup.write(file, RECORDS, FIRST)
        assert not file.exists()

    def test_a_change_between_the_two_passes(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A backup that is replaced between its verification and its parsing is refused."""
        backup.write(file, RECORDS, FIRST)
        text = gzip.decompress(file.read_bytes())
        other = gzip.compress(text.replace(b"SYS_Reader", b"SYS_Writer"))
        lines_of = backup._lines_of
        passes: list[Path] = []

        def replaced(path: Path, opened: Any, max_size: int) -> Any:
            passes.append(path)
            if len(passes) == 2:
                file.write_bytes(other)
                opened.seek(0)
            return lines_of(path, opened, max_size)

        monkeypatch.setattr(backup, "_lines_of", replaced)
        with pytest.raises(Forbidden, match="was changed while it was read"):
            backup.read(file, FIRST)


def test_the_header_is_authenticated(file: Path) -> None:
    """A changed header makes a backup unauthentic, even if it means the same."""
    backup.write(file, RECORDS, FIRST)
    text = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(text.replace(b'"format": 2', b'"format":  2', 1)))
    with pytest.raises(Forbidden, match="was changed after it was written"):
        backup.read(file, FIRST)


@pytest.mark.parametrize("limit", [("MAX_LINE", 10), ("_MAX_VALUES", 3), ("_MAX_NAME", 3)])
def test_limits_of_a_record(file: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]) -> None:
    """A record with a line, a name or values beyond the limits is refused."""
    backup.write(file, RECORDS, FIRST)
    monkeypatch.setattr(backup, "_CHUNK", 20)
    assert backup.read(file, FIRST).is_authentic
    monkeypatch.setattr(backup, *limit)
    with pytest.raises(Forbidden):
        backup.read(file, FIRST)


@pytest.mark.parametrize("name", [b'["a"]', b"{}", b"1", b"null"])
def test_a_name_that_is_not_text(file: Path, name: bytes) -> None:
    """An unauthenticated backup whose record has something else than text as name is refused."""
    backup.write(file, RECORDS, FIRST)
    text = gzip.decompress(file.read_bytes())
    changed = text.replace(b'"name": "ERP"', b'"name": ' + name)
    assert changed != text
    file.write_bytes(gzip.compress(changed))
    with pytest.raises(Forbidden, match="is not a whole backup"):
        backup.read(file, FIRST, unauthenticated=True)


def test_an_unauthenticated_backup_may_be_smaller_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of an unauthenticated backup are lower than those of an authentic one."""
    backup.write(file, RECORDS, FIRST)
    size = len(gzip.decompress(file.read_bytes()))
    monkeypatch.setattr(backup, "_MIN_LINE", 1)
    monkeypatch.setattr(backup, "MAX_UNAUTHENTICATED_SIZE", size - 1)
    assert backup.read(file, FIRST, unauthenticated=True).is_authentic
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"SYS_Reader", b"SYS_Writer")))
    with pytest.raises(Forbidden, match="larger than a backup of its kind"):
        backup.read(file, FIRST, unauthenticated=True)


class TestMerge:
    """The records after a restore."""

    def test_the_backup_replaces(self) -> None:
        """Applications and users are those of the backup only; a name is the same regardless of case."""
        present: Records = [("applications", {"name": "CRM"}), ("users", {"name": "LENA"}), ("sessions", {"name": "x"})]
        assert restore.merge(present, RECORDS, 0) == RECORDS

    def test_present_records_that_stay(self) -> None:
        """Present revocations and keys stay beside those of the backup."""
        stays: Records = [
            ("revocations", {**REVOCATION, "name": "b" * 64}),
            ("instance", {"name": "key", "identifier": "0"}),
        ]
        assert restore.merge(stays, RECORDS, 0) == [*RECORDS, *stays]

    @pytest.mark.parametrize(("name", "other"), [("a" * 64, "A" * 64), ("A" * 64, "a" * 64)])
    def test_no_duplicates(self, name: str, other: str) -> None:
        """Of a record that both have, regardless of case, the backup's remains."""
        present: Records = [
            ("revocations", {**REVOCATION, "name": other, "expires": 1}),
            ("instance", identifier_record("1" * 32)),
        ]
        restored: Records = [("revocations", {**REVOCATION, "name": name}), ("instance", identifier_record(IDENTIFIER))]
        assert restore.merge(present, restored, 0) == restored

    def test_personal_tokens_are_merged(self) -> None:
        """The personal tokens of a user are those of the backup and those issued since, with their last use."""
        backed_up = personal_tokens("Lena", old=None, both=None)
        present = personal_tokens("lena", both=5, new=None)
        otto = personal_tokens("otto", other=1)
        merged = restore.merge([present, otto], [backed_up], 0)
        assert merged == [personal_tokens("Lena", old=None, both=5, new=None), otto]
        damaged: Records = [("personal_tokens", {"format": 1, "name": "lena", "tokens": 5})]
        assert restore.merge(damaged, [backed_up], 0) == [backed_up]


def personal_tokens(name: str, **tokens: int | None) -> tuple[str, dict[str, Any]]:
    """Return the record of a user with these tokens and their last uses."""
    entries = [
        {
            "jti": jti, "label": "", "application": "ERP", "issued": ["old", "both", "new", "other"].index(jti),
            "expires": 9, "identifier": f"hmac-{jti}", "used": used,
        }
        for jti, used in tokens.items()
    ]  # fmt: skip
    return "personal_tokens", {"format": 1, "name": name, "tokens": entries}


class TestMergeOfCutOffs:
    """Cut-offs after a restore: no token that was revoked is accepted again."""

    def after(self, present: list[CutOff | Document], restored: list[CutOff]) -> list[CutOff | Document]:
        """Return the cut-offs after a restore of a backup with the application ERP."""

        def records(found: Sequence[CutOff | Document]) -> Records:
            return [("cut_offs", one.to_document() if isinstance(one, CutOff) else one) for one in found]

        erp = [("applications", {"name": "ERP", "expire": 600, "lastExpiry": (NOW + 5000) * 1000})]
        merged = restore.merge(records(present), [*erp, *records(restored)], NOW)
        documents = [document for collection, document in merged if collection == "cut_offs"]
        return [CutOff.from_document(one) if "until" in one else one for one in documents]

    def cut_off(self, before: int, user: str = "lena", until: float = NOW + 9000) -> CutOff:
        return CutOff(user, "", (NOW + before) * 1000, (NOW + before) * 1000, "admin", until)

    def test_the_later_time_remains(self) -> None:
        """Of two of the same user, regardless of case, the later time remains, and the longer of both ends."""
        early, late = self.cut_off(1, until=NOW + 9999), self.cut_off(2, user="LENA")
        expected = dataclasses.replace(late, until=NOW + 9999)
        assert self.after([early], [late]) == [expected]
        assert self.after([late], [early]) == [expected]

    def test_those_of_one_side_remain(self) -> None:
        """A cut-off that only the store or only the backup has remains."""
        mine, theirs = self.cut_off(1), self.cut_off(1, user="otto")
        assert self.after([mine], [theirs]) == [theirs, mine]

    def test_a_restored_application(self) -> None:
        """A cut-off lasts until the tokens of a restored application are over, which the store did not have."""
        found = self.cut_off(1, until=NOW + 1)
        assert self.after([found], []) == [dataclasses.replace(found, until=NOW + 5000)]
        other = dataclasses.replace(found, application="CRM")
        assert self.after([other], []) == [other]

    def test_a_damaged_one_remains(self) -> None:
        """A present cut-off that is damaged remains: it accepts nobody."""
        damaged: Document = {"name": "lena:"}
        assert self.after([damaged], [self.cut_off(1)]) == [damaged]

    @pytest.mark.parametrize(
        ("present", "restored", "expected"),
        [
            ({"expire": 900}, {"expire": 600}, (NOW + 900) * 1000),
            ({"expire": 600}, {"expire": 900}, None),
            ({"expire": 600, "lastExpiry": 7}, {"expire": 900}, 7),
            ({"expire": 600, "lastExpiry": 7}, {"expire": 900, "lastExpiry": 8}, 8),
        ],
    )
    def test_a_lower_lifetime(self, present: Document, restored: Document, expected: int | None) -> None:
        """A restored application keeps when the tokens of a longer expire of the present one are over."""
        ((_, found),) = restore.merge(
            [("applications", {"name": "erp", **present})], [("applications", {"name": "ERP", **restored})], NOW
        )
        assert found.get("lastExpiry") == expected


class TestReencrypt:
    """The secrets of a backup under the keys of the service that restores it."""

    def sealed(self, keyring: Keyring) -> backup.Backup:
        record = Sealer(keyring).seal(Sealer(keyring).unseal(ERP))
        return backup.Backup([("applications", record), ("users", USER)], keyring.identifier, True)

    def test_a_former_key(self) -> None:
        """Secrets are encrypted with the present key, and the former identifier keys are added."""
        records = restore.reencrypt(self.sealed(FIRST), BOTH)
        assert Sealer(SECOND).unseal(records[0][1]).secret == STRONG_SECRET
        assert records[1] == ("users", USER)
        assert [(collection, document["name"]) for collection, document in records[2:]] == [("instance", "former_keys")]

    def test_the_present_key(self) -> None:
        """Records with the present key remain unchanged."""
        found = self.sealed(FIRST)
        assert restore.reencrypt(found, Keyring(KEYS[:1])) == found.records

    def test_former_keys_of_the_backup(self) -> None:
        """The identifier keys of a backup are loaded, and written again with the present key."""
        former = BOTH.former_keys_record(None)
        keyring = Keyring(KEYS[1:2])
        ((collection, document),) = restore.reencrypt(
            backup.Backup([("instance", former)], keyring.identifier, True), keyring
        )
        assert (collection, document["name"]) == ("instance", "former_keys")
        assert set(keyring.token_identifier_keys) == set(BOTH.token_identifier_keys)


@pytest.mark.parametrize(
    ("records", "known", "expected"),
    [
        (RECORDS, None, RECORDS),
        (RECORDS, IDENTIFIER, RECORDS),
        (RECORDS[:1], None, RECORDS[:1]),
        (RECORDS[:1], IDENTIFIER, [RECORDS[0], RECORDS[-1]]),
    ],
)
def test_identifiers(records: Records, known: str | None, expected: Records) -> None:
    """The identifier of the service is added to a backup without one."""
    assert restore.with_identifier(records, known, Path("backup.gz"), Path("store_id")) == expected


def test_a_backup_of_another_store() -> None:
    """A backup with another identifier than that of the service is refused, and both are named."""
    with pytest.raises(Forbidden, match=f"the store {IDENTIFIER}, .* is {'1' * 32}: "):
        restore.with_identifier(RECORDS, "1" * 32, Path("backup.gz"), Path("store_id"))


class TestCompare:
    """The changes that a restore would make."""

    def compare(self, present: Records, after: Records) -> restore.Changes:
        return restore.compare(present, after, FIRST)

    def test_no_change(self) -> None:
        """Equal records are no change, and neither are sessions that end."""
        unchanged = restore.Changes([], [], [], [], [], {"created": 0, "changed": 0, "deleted": 0})
        assert self.compare([*RECORDS, ("sessions", {"name": "x"})], RECORDS) == unchanged

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("secret", "another-secret-of-32-characters-!"),
            ("previous", {"secret": "x", "until": 1}),
            ("algorithm", "HS384"),
            ("enable", "0"),
            ("inituser", "0"),
            ("initroles", ["SYS_Creator"]),
            ("initpwd", "a-password"),
            ("fieldmap", {"username": "u", "name": "n", "email": "e"}),
        ],
    )
    def test_changes_of_trust(self, field: str, value: object) -> None:
        """Each field that decides whose tokens are accepted, and whom they create, is named."""
        changed = self.compare([("applications", ERP)], [("applications", {**ERP, field: value})])
        assert changed.applications == [("ERP", [field])]
        assert changed.counts == {"created": 0, "changed": 1, "deleted": 0}

    @pytest.mark.parametrize(
        ("field", "value"),
        [("expire", 5), ("token_name", "other"), ("lastModifiedDate", 5)],
    )
    def test_other_changes(self, field: str, value: object) -> None:
        """Any other field is counted only."""
        changed = self.compare([("applications", ERP)], [("applications", {**ERP, field: value})])
        assert (changed.applications, changed.counts["changed"]) == ([], 1)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("password", "$argon2id$x"), ("type", "SYS_Creator"), ("roles", ["Boss"]), ("enabled", False)],
    )
    def test_changes_of_access(self, field: str, value: object) -> None:
        """Each member of a user that gives access is named."""
        changed = self.compare([("users", USER)], [("users", {**USER, field: value})])
        assert (changed.users, changed.administrators) == ([("Lena", [field])], [])

    def test_administrators(self) -> None:
        """New Administrators are named, present ones are not; deleted ones come first and are marked."""
        new = {**ADMIN, "name": "eve"}
        present: Records = [("users", USER), ("users", {**ADMIN, "name": "zoe"}), ("users", {**ADMIN, "email": "x@y"})]
        changed = self.compare(present, [("users", ADMIN), ("users", new)])
        assert changed.administrators == ["eve"]
        assert changed.deleted_users == ["zoe (Administrator)", "Lena"]
        assert changed.counts == {"created": 1, "changed": 1, "deleted": 2}
        promoted = self.compare([("users", {**ADMIN, "enabled": False})], [("users", ADMIN)])
        assert promoted.administrators == ["admin"]

    def test_damaged_records(self) -> None:
        """A present record that is damaged counts as missing: its replacement is a new application or Administrator."""
        present: Records = [("users", {"name": "admin", "type": 5}), ("applications", {"name": "ERP"})]
        changed = self.compare(present, [("users", ADMIN), ("applications", ERP)])
        assert (changed.administrators, changed.applications) == (["admin"], [("ERP", ["new"])])
        assert self.compare(present, []).deleted_users == ["admin"]
        assert self.compare(present, []).deleted_applications == ["ERP"]
