"""The checklist: each check finds its fault, and reports nothing else."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from datafor_token.applications.index import ApplicationIndex, IndexEntry
from datafor_token.applications.weak_secrets import WeakSecretFinder
from datafor_token.crypto import strength
from datafor_token.crypto.keys import SharedKey, new_secret
from datafor_token.errors import AuditUnavailable, StoreUnavailable
from datafor_token.operations.checklist import CHECKS, GUIDE, Finding, Look, Severity, findings
from datafor_token.operations.milestones import BACKUP
from datafor_token.operations.readiness import NotReady
from datafor_token.operations.services import Services
from datafor_token.providers.key_sets import KeySets, Status
from datafor_token.settings import Settings
from tests.conftest import Caller, services_in
from tests.docs.pages import anchors
from tests.stores import Record, unavailable
from tests.support import ROOT, STRONG_SECRET, Clock, application

DAY = 86400
PUBLIC = "https://intra.example"
POLICY = {"jwks_uri": "https://id.example/keys", "issuer": "https://id.example", "algorithm": "ES256", "secret": None}


@pytest.fixture
def services(app: Flask) -> Services:
    """Return the services of an installation in which everything is in order."""
    found = services_in(app)
    found.milestones.reach(BACKUP)
    return with_settings(found, public_url=PUBLIC)


def with_settings(services: Services, **changes: Any) -> Services:
    return dataclasses.replace(services, settings=dataclasses.replace(services.settings, **changes))


def found(services: Services, *, is_https: bool = True) -> list[str]:
    """Return the names of the checks that found something."""
    return [one.check for one in findings(Look(services, is_https=is_https))]


def only(services: Services, *, is_https: bool = True) -> Finding:
    (one,) = findings(Look(services, is_https=is_https))
    return one


def test_everything_is_in_order(services: Services, caller: Caller) -> None:
    """An installation that follows the guide has no finding."""
    caller.post("update", application(secret=STRONG_SECRET, audience=["*"]))
    assert found(services) == []


def first_password(services: Services) -> Services:
    (services.settings.config_dir / "initial_admin_password").write_text("x")
    return services


def old_backup(services: Services) -> Services:
    clock: Any = services.clock
    clock.advance(8 * DAY)
    return services


def large_log(services: Services) -> Services:
    os.truncate(services.settings.data_dir / "audit.log", 500_000_000)
    return services


FAULTS: dict[str, tuple[str, Severity, Callable[[Services], Services]]] = {
    "first password": ("first_password", Severity.BAD, first_password),
    "http": ("https", Severity.BAD, lambda services: with_settings(services, public_url="http://intra.example")),
    "tokens of administrators": (
        "administrators",
        Severity.BAD,
        lambda services: with_settings(services, tokens_may_administer=True),
    ),
    "no public URL": ("public_url", Severity.WARNING, lambda services: with_settings(services, public_url="")),
    "old backup": ("backup", Severity.WARNING, old_backup),
    "large audit log": ("audit_size", Severity.WARNING, large_log),
}


@pytest.mark.file_store
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(services: Services, fault: str) -> None:
    """A fault of the settings or the folders is the only finding, with its severity."""
    name, severity, cause = FAULTS[fault]
    one = only(cause(services))
    assert (one.check, one.severity) == (name, severity)


def test_a_page_over_http(services: Services) -> None:
    """A page that came over http is a finding."""
    assert only(services, is_https=False).check == "https"


@pytest.mark.file_store
def test_no_backup_yet(services: Services) -> None:
    """A store of files without any backup is a finding; the time of the last one decides later."""
    services.milestones.withdraw(BACKUP)
    assert "No backup was written yet" in only(services).text
    services.milestones.reach(BACKUP)
    assert found(services) == []


def test_a_database_has_its_own_backups(services: Services) -> None:
    """Nothing is said about backups of a database, which other tools write."""
    services.milestones.withdraw(BACKUP)
    assert found(dataclasses.replace(services, store=SimpleNamespace(names=list))) == []


def test_weak_secrets(services: Services, caller: Caller) -> None:
    """Enabled applications with a short or guessable secret are named with the reason, and link to their pages."""
    for name, secret in (("short", "abcd"), ("words", "password" * 5), ("strong", STRONG_SECRET)):
        caller.post("update", application(name=name, secret=secret, audience=["*"]))
    caller.post("update", application(name="off", secret="abcd", enable="0", audience=["*"]))
    one = only(services)
    assert (one.check, one.severity) == ("weak_secrets", Severity.BAD)
    assert [(subject.kind, subject.name) for subject in one.subjects] == [
        ("application", "short"),
        ("application", "words"),
    ]
    assert "4 bytes" in one.subjects[0].reason
    assert "abcd" not in repr(one)
    assert "password" not in repr(one)


def test_a_changed_secret_is_looked_at_again(services: Services, caller: Caller) -> None:
    """A weak secret is a finding until it is replaced."""
    caller.post("update", application(secret="abcd", audience=["*"]))
    assert found(services) == ["weak_secrets"]
    caller.post("rotate", {"name": "ERP"})
    assert found(services) == []


def index_of(secrets: list[str]) -> ApplicationIndex:
    plain: dict[str, Any] = {field.name: None for field in dataclasses.fields(IndexEntry)}
    return ApplicationIndex(
        [
            IndexEntry(**{**plain, "name": f"a{number}", "enable": True, "key": SharedKey("HS256", secret.encode())})
            for number, secret in enumerate(secrets)
        ],
        (),
    )


def test_few_secrets_are_estimated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random and short secrets are estimated at once; others, which take long, a few at each look."""
    estimated: list[str] = []

    def estimate(secret: str) -> float:
        estimated.append(secret)
        return 1.0

    monkeypatch.setattr(strength, "_guesses_log10", estimate)
    finder = WeakSecretFinder()
    given = index_of(
        [f"k3Vt9QmZ2xLw8Rb5YnHs7Dg4JcPfTa6{one:02d}" for one in range(50)]
        + ["short"] * 50
        + ["p" * (32 + one) for one in range(20)]
    )
    looks = [finder.look(given) for _ in range(6)]
    shown = [(len(look.found), look.left) for look in looks]
    assert shown == [(54, 16), (58, 12), (62, 8), (66, 4), (70, 0), (70, 0)]
    assert len(estimated) == 20


def test_secrets_that_are_left_are_a_finding(
    services: Services, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as some keys are not checked, the checklist says so instead of being empty."""
    monkeypatch.setattr("datafor_token.applications.weak_secrets._MOST_SLOW", 0)
    caller.post("update", application(secret="p" * 40, audience=["*"]))
    assert "not checked yet (1)" in only(services).text


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_generated_secrets_look_random(algorithm: str) -> None:
    """Generated secrets need no estimate, except a few; words, repetitions and digits do."""
    quick = [strength.is_quick(SharedKey(algorithm, new_secret(algorithm).encode())) for _ in range(200)]
    assert sum(quick) >= 195
    for text in ("correct horse battery staple and a few more of these words", "aB3" * 30, "0123456789" * 9):
        assert not strength.is_quick(SharedKey(algorithm, text.ljust(64, "z").encode()))


def test_damaged_records(services: Services, caller: Caller, settings: Settings) -> None:
    """Damaged applications and users are named with the reason, the first ten of them."""
    for number in range(12):
        caller.post("update", application(name=f"a{number:02d}", secret=STRONG_SECRET, audience=["*"]))
        Record(settings.data_dir, "applications", f"a{number:02d}").write_text("{")
    one = only(services)
    assert (one.check, one.severity, len(one.subjects), one.unnamed) == ("damaged", Severity.BAD, 10, 2)
    assert all("a0" in subject.reason and subject.is_damaged for subject in one.subjects)


def test_a_damaged_user(services: Services, settings: Settings) -> None:
    """A damaged user is named with the reason."""
    text = Record(settings.data_dir, "users", "admin").read_text()
    Record(settings.data_dir, "users", "lena").write_text(text.replace('"admin"', '"lena"').replace("true", "7"))
    (subject,) = only(services).subjects
    assert (subject.kind, subject.name, subject.reason) == ("user", "lena", "user 'lena': enabled has an invalid value")


@pytest.mark.parametrize(
    ("free", "size", "severity"),
    [(100, 100_000, Severity.BAD), (900, 100_000, Severity.WARNING), (900, 2_000, None), (5_000, 100_000, None)],
)
def test_a_full_disk(
    services: Services, monkeypatch: pytest.MonkeyPatch, free: int, size: int, severity: Severity | None
) -> None:
    """Little free space is a finding once for each disk; less than 200 MB is bad."""
    numbers = {"f_frsize": 1_000_000, "f_bavail": free, "f_blocks": size, "f_favail": 1, "f_files": 1}
    monkeypatch.setattr("datafor_token.operations.checklist.os.statvfs", lambda _: SimpleNamespace(**numbers))
    assert [(one.check, one.severity) for one in findings(Look(services))] == (
        [] if severity is None else [("disk", severity)]
    )


def test_the_store_cannot_be_written(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store or an audit log that cannot be written is the finding, and only one of the two."""
    error: StoreUnavailable = StoreUnavailable()
    monkeypatch.setattr(services.readiness, "unwritable", lambda: NotReady(error, readable=True))
    assert "The store cannot be written" in only(services).text
    error = AuditUnavailable()
    assert "The audit log cannot be written" in only(services).text


def test_an_outage_is_one_finding(services: Services, settings: Settings) -> None:
    """If a collection cannot be read, the checks that need it are left out, and the first finding gives the reason."""
    with unavailable(settings.data_dir, "users"):
        reported = findings(Look(with_settings(services, public_url="")))
    assert reported[0].check == "store"
    assert "cannot be read" in reported[0].text
    assert "public_url" in [one.check for one in reported]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[Status], None]:
    return lambda status: monkeypatch.setattr(KeySets, "status", lambda *_: status)


def test_keys_of_providers(
    services: Services, caller: Caller, clock: Clock, keys: Callable[[Status], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that cannot be fetched are bad if none are usable; else the finding says until when the stored ones last."""
    caller.post("update", application(name="Keycloak", audience=["*"], **POLICY))
    now = int(clock() * 1000)
    keys(Status([], None, None))
    assert found(services) == []
    keys(Status([], None, "id.example does not respond"))
    one = only(services)
    assert (one.check, one.severity, one.subjects[0].reason) == ("keys", Severity.BAD, "id.example does not respond")
    monkeypatch.setattr("datafor_token.providers.key_sets.ProviderKeys.all", lambda _: [object()])
    keys(Status(["k"], now - DAY * 1000, "id.example does not respond"))
    one = only(services)
    assert (one.check, one.severity, one.subjects[0].until) == ("keys", Severity.WARNING, now + 6 * DAY * 1000)


def test_violations_of_rules(services: Services, caller: Caller, settings: Settings) -> None:
    """Stored values that break a later rule are named with what to do."""
    caller.post("update", application(secret=STRONG_SECRET, audience=["*"]))
    record = Record(settings.data_dir, "applications", "erp")
    record.write_text(record.read_text().replace('"SYS_Reader"', '"a,b"'))
    one = only(services)
    assert (one.check, one.severity, one.subjects[0].name) == ("rules", Severity.WARNING, "ERP")
    assert "the stored value continues to work" in one.subjects[0].reason


def test_the_worst_is_first(services: Services) -> None:
    """Bad findings come before warnings, and each group is in the order of the table."""
    reported = findings(Look(first_password(with_settings(services, public_url="", tokens_may_administer=True))))
    assert [one.check for one in reported] == ["first_password", "administrators", "public_url"]


@pytest.mark.parametrize("check", GUIDE)
def test_the_guide_explains_each_check(check: str) -> None:
    """The page of the guide that a finding leads to exists, with its section."""
    page, _, anchor = GUIDE[check].partition("#")
    assert (ROOT / "docs" / f"{page}.md").exists()
    assert anchor in anchors(f"docs/{page}.md")


def test_every_check_is_in_the_console_page() -> None:
    """The table of the checklist in docs/console.md has as many rows as the code has checks."""
    text = Path(ROOT / "docs" / "console.md").read_text().partition("## The checklist")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(CHECKS)
