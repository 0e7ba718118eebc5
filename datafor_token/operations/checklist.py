"""Checklist of an installation: what an Administrator should change, the worst first, each with what to do.

To add a check, add a row to ``CHECKS`` and a function that yields its findings. A check that needs no action yields
nothing. Its findings are sentences, which a page translates; a page of the guide explains how to do what they ask for.
"""

import contextlib
import enum
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from datafor_token.applications.index import ApplicationIndex
from datafor_token.audit.reader import FILE as AUDIT_FILE
from datafor_token.errors import Message, StoreUnavailable
from datafor_token.operations.milestones import BACKUP, Milestone
from datafor_token.operations.services import Services
from datafor_token.providers.key_sets import USABLE, ProviderKeys
from datafor_token.store.files.store import FileStore
from datafor_token.users.users import FIRST_USER, PASSWORD_FILE, User

MOST_NAMED = 10  # records of a finding
_MEGABYTE = 1_000_000  # bytes
_SCARCE, _LOW = 200 * _MEGABYTE, 1000 * _MEGABYTE  # free space; the latter also less than a tenth of the disk
_LARGE_LOG = 500 * _MEGABYTE
_DAY = 86_400_000  # milliseconds
_OLD_BACKUP = 8  # days: a weekly backup is not too old


class Severity(enum.IntEnum):
    """How bad a finding is; the worst is the lowest."""

    BAD = 0  # somebody may get in, or something does not work
    WARNING = 1


class Look:
    """Objects of the checks, all from one moment: a look at thousands of records takes 50 ms.

    ``is_https``: whether the page is shown over https, or on the host itself. Properties raise ``StoreUnavailable``.
    """

    def __init__(self, services: Services, *, is_https: bool = True) -> None:
        self.services = services
        self.is_https = is_https

    @functools.cached_property
    def applications(self) -> ApplicationIndex:
        """The index of the applications."""
        return self.services.registry.index()

    @functools.cached_property
    def users(self) -> tuple[Sequence[User], Sequence[str]]:
        """The users, and the names of the damaged records."""
        return self.services.accounts.all()

    @functools.cached_property
    def milestones(self) -> Mapping[str, Milestone]:
        """The milestones that were reached."""
        return self.services.milestones.all()


class Subject(NamedTuple):
    """A record that a finding is about: its kind (``application`` or ``user``), its name, and the reason.

    ``until``: the time until which it works nevertheless, in milliseconds since 1970. A damaged one has no page.
    """

    kind: str
    name: str
    reason: str
    until: int | None = None
    is_damaged: bool = False


class Finding(NamedTuple):
    """Something to do: the name of the check, and a sentence. Of its subjects, the first ``MOST_NAMED`` are named."""

    check: str
    severity: Severity
    text: Message
    subjects: Sequence[Subject] = ()
    unnamed: int = 0  # number of the other subjects


class Found(NamedTuple):
    """Result of a check: a finding without the name of the check, and with all its subjects."""

    severity: Severity
    text: Message
    subjects: Sequence[Subject] = ()


class Check(NamedTuple):
    """A check: its name, the page of the guide that explains it, and the function that looks."""

    name: str
    guide: str
    look: Callable[[Look], Iterator[Found]]


def findings(look: Look) -> list[Finding]:
    """Return what an Administrator should do, the worst first. What an outage hides is the first finding."""
    found: list[Finding] = []
    reasons: dict[str, None] = {}
    for check in CHECKS:
        try:
            found += [_finding(check.name, one) for one in check.look(look)]
        except StoreUnavailable as error:
            reasons[error.reason or error.message] = None
    unreadable = [Finding("store", Severity.BAD, _unreadable(reason)) for reason in reasons]
    return sorted([*unreadable, *found], key=lambda one: one.severity)


def rule_violations(look: Look) -> Iterator[Subject]:
    """Yield the stored values that break a rule of this version. They continue to work; nothing is damaged."""
    for entry in look.applications.entries:
        # Most have none: a generator for each of thousands takes ten times as long as this.
        if entry.rule_violations:
            yield from (Subject("application", entry.name, message) for message in entry.rule_violations)
    for user in look.users[0]:
        if user.rule_violations:
            yield from (Subject("user", user.name, message) for message in user.rule_violations)


def _finding(check: str, found: Found) -> Finding:
    named = found.subjects[:MOST_NAMED]
    return Finding(check, found.severity, found.text, named, len(found.subjects) - len(named))


def _unreadable(reason: str) -> Message:
    return Message(
        "Part of the store cannot be read, and the checks that need it were left out: %(reason)s.", reason=reason
    )


def _store(look: Look) -> Iterator[Found]:
    services = look.services
    error = services.readiness.unwritable()
    if error is None:
        return
    if not error.is_of_audit:
        yield Found(
            Severity.BAD,
            Message("The store cannot be written: check the disk, or the database, and the owner of its files."),
        )
    elif not isinstance(services.store, FileStore):
        yield Found(
            Severity.BAD,
            Message(
                "The audit log cannot be written, so every change is refused: check the table %(table)s of the"
                " database, and the rights of its user.",
                table="datafor_audit",
            ),
        )
    else:
        yield Found(
            Severity.BAD,
            Message(
                "The audit log cannot be written, so every change is refused: check the disk and the owner of"
                " %(file)s.",
                file=services.settings.data_dir / AUDIT_FILE,
            ),
        )


def _damaged(look: Look) -> Iterator[Found]:
    services = look.services
    names = [
        *(("application", name, services.registry.get) for name in look.applications.damaged),
        *(("user", name, services.users.get) for name in look.users[1]),
    ]
    if names:
        yield Found(
            Severity.BAD,
            Message(
                "Damaged records are left out, and calls about them fail: repair each by hand, or move it aside and"
                " bring it back from a backup."
            ),
            [
                # The reasons of others are not shown.
                Subject(kind, name, _reason(read, name) if number < MOST_NAMED else "", is_damaged=True)
                for number, (kind, name, read) in enumerate(names)
            ],
        )


def _reason(read: Callable[[str], object], name: str) -> str:
    try:
        read(name)
    except StoreUnavailable as error:
        return error.reason or error.message
    # It was repaired just now.
    return ""


def _disk(look: Look) -> Iterator[Found]:
    settings, seen = look.services.settings, set()
    for folder in (settings.data_dir, settings.config_dir):
        with contextlib.suppress(OSError):
            device, found = folder.stat().st_dev, os.statvfs(folder)
            free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
            is_low = free < _SCARCE or (free < _LOW and free < size / 10)
            # Some network file systems do not tell their size.
            if size and is_low and device not in seen:
                seen.add(device)
                yield Found(
                    Severity.BAD if free < _SCARCE else Severity.WARNING,
                    Message(
                        "The disk of %(folder)s has only %(free)s MB free: free some space; on a full disk, nothing can"
                        " be stored.",
                        folder=folder,
                        free=free // _MEGABYTE,
                    ),
                )


def _first_password(look: Look) -> Iterator[Found]:
    file = look.services.settings.config_dir / PASSWORD_FILE
    if file.exists():
        yield Found(
            Severity.BAD,
            Message(
                "The first password of %(user)s is still in %(file)s: change the password, which removes the file. If"
                " it was changed before, remove the file.",
                user=FIRST_USER,
                file=file,
            ),
        )


def _https(look: Look) -> Iterator[Found]:
    if look.services.settings.public_url.lower().startswith("http:"):
        yield Found(
            Severity.BAD,
            Message(
                "PUBLIC_URL begins with http: passwords and tokens can be read on the way. Serve https, and set"
                " PUBLIC_URL to its URL."
            ),
        )
    elif not look.is_https:
        yield Found(
            Severity.BAD,
            Message(
                "This page came over http: passwords and tokens can be read on the way. Put a proxy with https in"
                " front, and set TRUSTED_PROXIES to the number of proxies."
            ),
        )


def _administrators(look: Look) -> Iterator[Found]:
    if look.services.settings.tokens_may_administer:
        subjects = [Subject("application", one.name, "") for one in look.applications.entries if one.enable]
        yield Found(
            Severity.BAD,
            Message(
                "TOKENS_MAY_ADMINISTER is true: anyone who can sign tokens of an enabled application can act as an"
                " Administrator. Set it to false."
            ),
            subjects,
        )


def _weak_secrets(look: Look) -> Iterator[Found]:
    weak = look.services.weak_secrets.look(look.applications)
    if weak.found:
        yield Found(
            Severity.BAD,
            Message(
                "Weak keys: from a single token, an attacker can find the key, and then sign in as anybody. Give each"
                " of these applications a generated secret."
            ),
            [Subject("application", name, reason) for name, reason in weak.found],
        )
    if weak.left:
        yield Found(
            Severity.WARNING,
            Message(
                "Some keys are not checked yet (%(number)s), because that takes long: each time this page is opened,"
                " it checks some more.",
                number=weak.left,
            ),
        )


def _keys(look: Look) -> Iterator[Found]:
    gone: list[Subject] = []
    stored: list[Subject] = []
    for entry in look.applications.entries:
        status = entry.key.status() if entry.enable and isinstance(entry.key, ProviderKeys) else None
        if status is None or status.error is None:
            continue
        until = None if status.fetched is None else status.fetched + USABLE
        if until is None or until <= look.services.clock() * 1000 or not entry.key.all():
            gone.append(Subject("application", entry.name, status.error))
        else:
            stored.append(Subject("application", entry.name, status.error, until))
    if gone:
        yield Found(
            Severity.BAD,
            Message(
                "The keys of these applications cannot be fetched, and none are stored: their tokens are refused. Check"
                " the key set URL, and that this host can reach it."
            ),
            gone,
        )
    if stored:
        yield Found(
            Severity.WARNING,
            Message(
                "The keys of these applications cannot be fetched, and the stored ones are used for some days. Check"
                " the key set URL, and that this host can reach it."
            ),
            stored,
        )


def _public_url(look: Look) -> Iterator[Found]:
    if not look.services.settings.public_url:
        yield Found(
            Severity.WARNING,
            Message(
                "PUBLIC_URL is empty, so one-time links have no host name. Set it to the URL of this host in browsers,"
                " such as https://intra.example."
            ),
        )


def _backup(look: Look) -> Iterator[Found]:
    if not isinstance(look.services.store, FileStore):
        # The tools of the database write its backups, which cannot be seen from here.
        return
    last = look.milestones.get(BACKUP)
    if last is None:
        yield Found(
            Severity.WARNING,
            Message("No backup was written yet: run `datafor-token store backup`, and let a timer run it every night."),
        )
        return
    days = int((look.services.clock() * 1000 - last.time) // _DAY)
    if days >= _OLD_BACKUP:
        yield Found(
            Severity.WARNING,
            Message(
                "The last backup is %(days)s days old: run `datafor-token store backup`, and find out why its timer"
                " did not.",
                days=days,
            ),
        )


def _audit_size(look: Look) -> Iterator[Found]:
    if not isinstance(look.services.store, FileStore):
        # The table, which AUDIT_DAYS limits.
        return
    file = look.services.settings.data_dir / AUDIT_FILE
    with contextlib.suppress(OSError):
        size = file.stat().st_size
        if size >= _LARGE_LOG:
            yield Found(
                Severity.WARNING,
                Message("%(file)s has %(size)s MB: let logrotate rotate it.", file=file, size=size // _MEGABYTE),
            )


def _rules(look: Look) -> Iterator[Found]:
    found = list(rule_violations(look))
    if found:
        yield Found(
            Severity.WARNING,
            Message("Stored values break a rule of this version. They continue to work; correct them when you can."),
            found,
        )


CHECKS: Sequence[Check] = (
    Check("store", "troubleshooting#why-is-it-503", _store),
    Check("damaged", "troubleshooting#a-damaged-record", _damaged),
    Check("disk", "troubleshooting#a-full-disk", _disk),
    Check("first_password", "console#the-checklist", _first_password),
    Check("https", "troubleshooting#behind-a-proxy", _https),
    Check("administrators", "security#what-you-must-do", _administrators),
    Check("weak_secrets", "console#the-checklist", _weak_secrets),
    Check("keys", "troubleshooting#keys-that-cannot-be-fetched", _keys),
    Check("backup", "backup#every-night", _backup),
    Check("public_url", "settings#all-settings", _public_url),
    Check("audit_size", "install#rotate-the-audit-log", _audit_size),
    Check("rules", "console#the-checklist", _rules),
)
GUIDE = {check.name: check.guide for check in CHECKS}
