"""Steps of ``datafor-token store restore``: what is checked first, the printed changes, the replacement."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datafor_token.audit.events import Event, Kind
from datafor_token.cli.checking import database_refused, files_or_refuse, read
from datafor_token.cli.inputs import confirm, has_terminal, standard_input
from datafor_token.cli.output import note, progress, report, report_lines, wants_json
from datafor_token.cli.services import current_settings, open_services, services
from datafor_token.crypto.at_rest import KEY_FILE, KEY_VARIABLE, Keyring, load_keys
from datafor_token.errors import Forbidden, RecordDamaged
from datafor_token.operations import backup
from datafor_token.operations import restore as restoring
from datafor_token.operations.installation import Opener
from datafor_token.operations.store_identity import FILE as STORE_ID
from datafor_token.operations.store_identity import StoreIdentity, known_identifier
from datafor_token.store.files import snapshots
from datafor_token.store.opening import FILE, has_records
from datafor_token.users import users

_MOST_NAMED = 50
_STANDARD = "standard input"


def restore(file: Path | None, *, dry_run: bool, unauthenticated: bool, yes: bool) -> None:
    """Restore a backup after a confirmation; with ``dry_run``, only report the changes.

    ``file``: None for standard input.
    """
    settings = current_settings()
    if settings.store != FILE:
        raise database_refused("restore its own backup with `pg_restore`")
    # Checked before anything is created: after a refused backup, no store with another key must remain.
    opener = Opener.COMMAND if has_records(settings.data_dir) else Opener.RESTORE
    is_new = opener is Opener.RESTORE
    keyring = _keys_of_a_new_host(settings.config_dir) if is_new else open_services(opener).keyring
    if file is None:
        if has_terminal():
            raise Forbidden("standard input is a terminal: redirect the backup into it, or name a file")
        found = backup.read_stream(standard_input(), _STANDARD, keyring, unauthenticated=unauthenticated)
    else:
        found = backup.read(file, keyring, unauthenticated=unauthenticated)
    _check_all(found.records, keyring)
    records = restoring.with_identifier(
        restoring.reencrypt(found, keyring),
        known_identifier(settings.config_dir),
        file or _STANDARD,
        settings.config_dir / STORE_ID,
    )
    current = [] if is_new else snapshots.take(files_or_refuse(""), without_damaged=True)
    changes = restoring.compare(current, restoring.merge(current, records, time.time()), keyring)
    notes = list(_notes(found, keyring, settings.data_dir, is_new=is_new))
    # Before the confirmation; as JSON at the end.
    for sentence in notes:
        note(sentence)
    report_lines(*_lines(changes))
    summary = ", ".join(f"{number} {what}" for what, number in changes.counts.items())
    if not dry_run:
        confirm(f"Replace all records ({summary})?", yes=yes)
        open_services(opener)
        _replace_all(records, is_authentic=found.is_authentic)
    warnings = notes if wants_json() else ()
    report(f"would be: {summary}" if dry_run else summary, dry_run=dry_run, warnings=warnings, **_members(changes))


def _replace_all(records: backup.Records, *, is_authentic: bool) -> None:
    settings = current_settings()
    files = files_or_refuse("")
    # Merged again with the current records: a token that was revoked during the prompt remains revoked.
    with services().audit.change() as record:
        record(Event(kind=Kind.STORE_RESTORED, reason=None if is_authentic else "unauthenticated"))
        snapshots.restore(
            files,
            lambda latest: restoring.merge(latest, records, services().clock()),
            lambda writes: progress(writes, len(writes), "Writing"),
        )
    StoreIdentity(files, settings.config_dir, str(settings.data_dir)).save()


def _keys_of_a_new_host(config_dir: Path) -> Keyring:
    if KEY_VARIABLE not in os.environ and not os.path.lexists(config_dir / KEY_FILE):
        raise Forbidden(
            "%(path)s is missing: copy the key of the backup (config/secret_key) there first",
            path=config_dir / KEY_FILE,
        )
    return load_keys(config_dir, os.environ)


def _check_all(records: backup.Records, keyring: Keyring) -> None:
    """Refuse a backup with a record that is not valid, before anything is changed."""
    with progress(records, len(records), "Checking") as checked:
        try:
            found = [read(collection, document, keyring) for collection, document in checked]
        except RecordDamaged as error:
            raise Forbidden("the backup has a record that is not valid: %(detail)s", detail=error.reason) from None
    if not any(isinstance(one, users.User) and one.administers for one in found):
        raise Forbidden("the backup has no enabled Administrator")


def _notes(found: backup.Backup, keyring: Keyring, data_dir: Path, *, is_new: bool) -> Iterator[str]:
    """Yield sentences about the backup itself."""
    if not found.is_authentic:
        yield "This backup is not authenticated: an attacker may have added users and applications to it"
    if found.key != keyring.identifier:
        yield f"It was written with the former key {found.key}: its secrets will be encrypted with {keyring.identifier}"
    if is_new:
        yield f"No store exists in {data_dir}: this creates one"


def _lines(changes: restoring.Changes) -> Iterator[str]:
    """Yield the changes of a restore: first those that give access, above all new Administrators, then deletions."""
    yield from _names("New Administrators", changes.administrators)
    for label, found in (("Changed users", changes.users), ("Changed applications", changes.applications)):
        yield from _names(label, [f"{name} ({', '.join(fields)})" for name, fields in found])
    yield from _names("Deleted users", changes.deleted_users)
    yield from _names("Deleted applications", changes.deleted_applications)


def _names(label: str, texts: Sequence[str]) -> Iterator[str]:
    more = f", and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    if texts:
        yield f"{label}: {', '.join(texts[:_MOST_NAMED])}{more}"


def _members(changes: restoring.Changes) -> dict[str, Any]:
    """Return the changes for JSON."""
    return {
        "counts": changes.counts,
        "new_administrators": changes.administrators,
        "changed_users": [{"name": name, "fields": fields} for name, fields in changes.users],
        "changed_applications": [{"name": name, "fields": fields} for name, fields in changes.applications],
        "deleted_users": changes.deleted_users,
        "deleted_applications": changes.deleted_applications,
    }
