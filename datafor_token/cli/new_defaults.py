"""Output of ``datafor-token application check``: what the defaults of this version refuse, and what to do."""

import dataclasses

from datafor_token.cli.output import report
from datafor_token.cli.services import services
from datafor_token.operations.new_defaults import DAYS, Finding, Subject, find
from datafor_token.validation import logs

_NO_AUDIENCES = (
    "the aud of tokens is recorded since version 0.3.0: for applications without audience, run this again some days"
    " after the upgrade"
)


def check() -> None:
    """Report the findings of the last days. The exit code does not depend on them."""
    start = services().clock() - DAYS * 86400
    applications, damaged = services().registry.all_applications()
    users, damaged_users = services().accounts.all()
    found = find(services().audit.since(start), applications, users, services().settings)
    notes = [_NO_AUDIENCES] if all(one.kind is not Subject.AUDIENCE for one in found) else []
    since = logs.timestamp(start)
    number = f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "Nothing found"
    report(
        *(f"{_described(one)}: {_advice(one)}" for one in found),
        *(f"note: {one}" for one in notes),
        f"{number} since {since}",
        since=since,
        findings=[{**dataclasses.asdict(one), "advice": _advice(one)} for one in found],
        notes=notes,
        warnings=[f"{name}: the record cannot be read" for name in (*damaged, *damaged_users)],
    )


def _described(one: Finding) -> str:
    who = one.application if one.user is None else f"{one.application}, {one.user}"
    if one.last is None:
        return who
    return f"{who} ({one.count} sign-in{'' if one.count == 1 else 's'}, last {one.last})"


def _advice(one: Finding) -> str:
    """Return a sentence that states what to do."""
    match one.kind:
        case Subject.AUDIENCE:
            return (
                f"tokens with the aud {', '.join(one.audiences) or '[]'} were accepted, and the application has no"
                " audience; set its audience, or it refuses such tokens when it is registered again"
            )
        case Subject.ADMINISTRATOR:
            return (
                "tokens sign in no Administrator; let this user sign in with a password, use a user of another type, or"
                " set TOKENS_MAY_ADMINISTER = true"
            )
        case Subject.NEW_ADMINISTRATOR:
            return (
                "tokens create no Administrator; give new users another type with `datafor-token application set"
                f" {one.application} --initrole SYS_Creator`, or set TOKENS_MAY_ADMINISTER = true"
            )
