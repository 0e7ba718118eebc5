"""``datafor-token application``: applications, and their declared files."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datafor_token.applications.policy import REPORTABLE
from datafor_token.applications.rules import DEFAULT_GRACE
from datafor_token.cli.application_options import changed, field_options, is_given, shown
from datafor_token.cli.groups import Commands
from datafor_token.cli.inputs import confirm, read_secret, secret_options, yes_option
from datafor_token.cli.output import (
    done,
    done_once,
    name_damaged,
    report,
    report_lines,
    show,
    show_one,
    shown_cut_offs,
    wants_json,
)
from datafor_token.cli.parameters import Seconds, application_name
from datafor_token.cli.rehearsal import DryRun, dry_run_options, lines_of
from datafor_token.cli.services import services
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import Conflict, NotFound, RecordDamaged
from datafor_token.printable import printable_json, printable_toml

if TYPE_CHECKING:
    from datafor_token.applications.record import Application
    from datafor_token.applications.registry import Build, Preview
    from datafor_token.operations.declared import Step

application = Commands(
    "application", help="Manage applications. Example: datafor-token application add ERP --random-secret"
)
_CREATOR = "command line"


def _wanted(values: dict[str, Any]) -> dict[str, Any]:
    from datafor_token.requests.forms import Body
    from datafor_token.requests.schemas import ApplicationSchema

    return ApplicationSchema().read(Body(values, is_form=False))


def _fields(one: "Application") -> dict[str, Any]:
    return one.to_response(services().clock())


def _report(name: str, what: str, warnings: Sequence[str] = (), secret: str | None = None) -> None:
    """Report a change of an application; ``secret``: a generated one."""
    found = services().registry.get(name)
    sentence = f"{found.name} {what}"
    members: dict[str, Any] = {"warnings": warnings, "application": _fields(found)}
    if secret is None:
        done(sentence, **members)
    else:
        again = f"get another secret with `datafor-token application rotate {found.name}`"
        done_once(sentence, again, result=secret, secret=secret, **members)


def _change(name: str, build: "Build", what: str, dry_run: DryRun | None = None) -> None:
    """Change an application, or try it; ``build`` is as for ``Registry.modify``, ``what`` the result."""
    if dry_run:
        _try(services().registry.preview_change(name, build), dry_run)
        return
    saved, warnings = services().registry.modify(name, build)
    _report(saved.name, what, warnings)


def _try(preview: "Preview", dry_run: DryRun, action: str = "change") -> None:
    """Report what a change of an application would do."""
    from datafor_token.operations.declared import Step

    found = preview.application
    steps = [Step(action, found.name, preview.changes, application=found)] if preview.changes else []
    later = preview.after_grace if action == "rotate" else None
    _report_dry_run(steps, dry_run, preview.warnings, later)


def _report_dry_run(
    steps: "Sequence[Step]", dry_run: DryRun, warnings: Sequence[str] = (), after_grace: "Application | None" = None
) -> None:
    """Report the steps of a dry run, and the sign-ins that they would have refused.

    ``after_grace``: the application when the grace period of its rotation is over.
    """
    rehearse = services().rehearsals.response
    found = rehearse({step.name: step.application for step in steps}, days=dry_run.days)
    lines = [f"{len(steps) or 'nothing'} would be changed", *(lines_of(found) if steps else ())]
    lines += _advice(steps, found)
    members: dict[str, Any] = {"changes": _members(steps), "dry_run": True, "rehearsal": found}
    if after_grace is not None:
        members["after_grace"] = rehearse({after_grace.name: after_grace}, days=dry_run.days)
        lines += lines_of(members["after_grace"], "after the grace period, without the new secret, ")
    for step in steps:
        _print(step)
    report(*lines, warnings=warnings, **members)


def _advice(steps: "Sequence[Step]", rehearsal: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield which fields to report first, if their changed rules would or may have refused somebody."""
    if rehearsal is not None and not rehearsal["refused"] and not rehearsal["unknown"]:
        return
    changed = [(step.changes, step.application.report or ()) for step in steps if step.application is not None]
    fields = [one for one in REPORTABLE if any(one in changes and one not in report for changes, report in changed)]
    if fields:
        yield f"to watch first whom these rules would refuse, name their fields in report: {', '.join(fields)}"


def _members(steps: "Sequence[Step]") -> list[dict[str, Any]]:
    return [{"action": step.action, "application": step.name, "fields": _changes(step)} for step in steps]


@application.command("list")
def list_all() -> None:
    """List applications.

    Example: datafor-token application list
    """
    applications, damaged = services().registry.all_applications()
    rows = [_fields(one) for one in applications]
    columns = ("name", "algorithm", "enable", "token_name", "expire", "inituser", "initroles")
    show(rows if wants_json() else [{name: row[name] for name in columns} for row in rows])
    name_damaged(damaged)


@application.command("show")
@click.argument("name", type=application_name)
def show_application(name: str) -> None:
    """Show an application, and its cut-offs in force. A shared secret is shown as stars.

    Example: datafor-token application show ERP
    """
    found = services().registry.get(name)
    cut_offs = services().cut_offs.of_application(found.name)
    show_one((_fields(found) if wants_json() else shown(_fields(found))) | shown_cut_offs(cut_offs))


@application.command("check")
def check() -> None:
    """Show what the defaults of this version refuse: sign-ins of the last 30 days, from the audit log.

    These are tokens with an aud, of applications without audience, and Administrators who signed in with a token or a
    one-time link. Nothing is changed, and the exit code is 0, with or without findings. It also reads the folders of a
    former version, before the upgrade.

    Example: datafor-token application check
    """
    from datafor_token.cli import new_defaults

    new_defaults.check()


@application.command("add")
@click.argument("name")
@field_options(new=True)
@click.option("--random-secret", is_flag=True, help="Generate a shared secret and print it once.")
@secret_options("secret")
def add(name: str, file: Any, *, random_secret: bool, **given: Any) -> None:
    """Register an application. Its secret is read from a prompt, standard input or a file, or is generated.

    With --jwks-uri, its keys are those of an identity provider.

    Example: datafor-token application add ERP --algorithm HS256 --random-secret
    """
    from datafor_token.applications.record import DEFAULTS
    from datafor_token.crypto.keys import new_secret

    algorithm = given["algorithm"] or DEFAULTS["algorithm"]
    if random_secret and not is_shared(algorithm):
        instead = "--secret-file or --jwks-uri"
        raise click.UsageError(f"{algorithm} needs a public key: use {instead}", click.get_current_context())
    sources = {"--secret-file": file, "--random-secret": random_secret or None, "--jwks-uri": given["jwks_uri"] or None}
    _check_one_of(sources)
    with contextlib.suppress(NotFound):
        # Checked before the prompt for a secret, and again when the application is stored.
        found = services().registry.get(name).name
        raise Conflict(
            "name already exists as '%(name)s': change it with `datafor-token application set %(name)s`", name=found
        )
    before = {**DEFAULTS, "name": name}
    if not given["jwks_uri"]:
        instead = "--secret-file, --random-secret or standard input"
        if not is_shared(algorithm):
            instead = "--secret-file, --jwks-uri or standard input"
        before["secret"] = new_secret(algorithm) if random_secret else read_secret("secret", file, instead)
    warnings = services().registry.save(_wanted(changed(before, given)), _CREATOR, new=True)
    _report(name, "was added", warnings, before["secret"] if random_secret else None)


def _check_one_of(sources: dict[str, Any]) -> None:
    """Raise ``click.UsageError`` if several of the options, by name, have a value."""
    names = [name for name, value in sources.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"Give either {' or '.join(names)}", click.get_current_context())


@application.command("set")
@click.argument("name", type=application_name)
@field_options(new=False)
@click.option("--new-secret", is_flag=True, help="Read a new secret; the old one is invalid at once (see rotate).")
@secret_options("secret")
@dry_run_options
def set_fields(name: str, file: Any, *, new_secret: bool, dry_run: DryRun | None, **given: Any) -> None:
    """Change fields of an application. The other fields stay as they are; a list is replaced as a whole.

    Example: datafor-token application set ERP --expire 3600 --initrole Sales
    """
    wants_secret = new_secret or file is not None
    if not wants_secret and not any(is_given(value) for value in given.values()):
        raise click.UsageError("Give at least one change, such as --expire 3600", click.get_current_context())
    _check_one_of(
        {
            "--new-secret" if new_secret else "--secret-file": wants_secret or None,
            "--jwks-uri": given["jwks_uri"] or None,
        }
    )
    services().registry.get(name)
    # A new secret replaces the keys of a provider.
    keys = (
        {"secret": read_secret("secret", file, "--secret-file or standard input"), "jwks_uri": ""}
        if wants_secret
        else {}
    )
    _change(name, lambda before: _wanted(changed({**before, **keys}, given)), "was changed", dry_run)


@application.command("enable")
@click.argument("name", type=application_name)
def enable(name: str) -> None:
    """Accept the tokens of an application.

    Example: datafor-token application enable ERP
    """
    _change(name, lambda before: _wanted({**before, "enable": "1"}), "is enabled")


@application.command("disable")
@click.argument("name", type=application_name)
@dry_run_options
def disable(name: str, *, dry_run: DryRun | None) -> None:
    """Refuse the tokens of an application. The sessions that they opened end.

    Example: datafor-token application disable ERP
    """
    _change(name, lambda before: _wanted({**before, "enable": "0"}), "is disabled", dry_run)


@application.command("rotate")
@click.argument("name", type=application_name)
@click.option(
    "--grace", type=Seconds(), default=DEFAULT_GRACE, show_default=True, help="How long the old secret remains valid."
)
@click.option("--jwks-uri", help="URL of a provider's keys, which replace the secret.")
@secret_options("secret")
@dry_run_options
def rotate(name: str, grace: int, jwks_uri: str | None, file: Any, *, dry_run: DryRun | None) -> None:
    """Give an application a new secret. Without a file, a random one is generated and printed once.

    The old secret remains valid for the grace period. The keys of a provider that are replaced end at once.

    Example: datafor-token application rotate ERP --grace 86400
    """
    from datafor_token.requests.forms import Body
    from datafor_token.requests.schemas import RotateSchema

    _check_one_of({"--secret-file": file, "--jwks-uri": jwks_uri})
    sent: dict[str, Any] = {"name": name, "grace": grace}
    if file is not None:
        sent["secret"] = read_secret("secret", file, "a file with the secret, or leave --secret-file out")
    if jwks_uri is not None:
        sent["jwks_uri"] = jwks_uri
    wanted = RotateSchema().read(Body(sent, is_form=False))
    secret, grace, jwks_uri = wanted.get("secret"), wanted["grace"], wanted.get("jwks_uri")
    if dry_run:
        _try(services().registry.preview_rotation(wanted["name"], secret, grace, jwks_uri), dry_run, "rotate")
        return
    rotation = services().registry.rotate(wanted["name"], secret, grace, jwks_uri=jwks_uri)
    what = "has a new secret" if jwks_uri is None else "has the keys of a provider"
    _report(name, what, rotation.warnings, rotation.secret)


@application.command("delete")
@click.argument("name", type=application_name)
@yes_option
@dry_run_options
def delete(name: str, *, yes: bool, dry_run: DryRun | None) -> None:
    """Delete an application. Its tokens are no longer valid.

    Example: datafor-token application delete ERP --yes
    """
    from datafor_token.operations.declared import Step

    found = services().registry.get(name)
    if dry_run:
        _report_dry_run([Step("delete", found.name)], dry_run)
        return
    confirm(f"Delete the application {found.name}?", yes=yes)
    services().registry.delete(name)
    done(f"{found.name} was deleted", deleted=found.name)


@application.command("export")
@click.argument("names", nargs=-1, type=application_name)
@click.option(
    "--format", "form", type=click.Choice(["toml", "json"]), default="toml", show_default=True, help="Format."
)
@click.option("--secrets", is_flag=True, help="Include secrets and initial passwords: not for git.")
def export(names: tuple[str, ...], form: str, *, secrets: bool) -> None:
    """Print applications as a file for apply.

    Example: datafor-token application export > applications.toml
    """
    import tomli_w

    from datafor_token.operations import declared

    found, damaged = ([_get(name) for name in names], []) if names else services().registry.all_applications()
    if damaged:
        # Applied with --prune, a file without them would delete them.
        raise RecordDamaged("these records cannot be read: %(names)s", names=", ".join(damaged))
    entries = [declared.declaration(one, with_secrets=secrets) for one in found]
    if form == "toml" and not wants_json():
        text = printable_toml(tomli_w.dumps({"application": entries}))
    else:
        text = printable_json(declared.as_json(entries))
    click.echo(text, nl=False)


def _get(name: str) -> "Application":
    try:
        return services().registry.get(name)
    except NotFound:
        raise NotFound("application '%(name)s' does not exist", name=name) from None


@application.command("apply")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--prune", is_flag=True, help="Delete applications that are not declared.")
@yes_option
@dry_run_options
def apply(path: Path, *, prune: bool, yes: bool, dry_run: DryRun | None) -> None:
    """Apply the applications of a file or folder. An error in one of them changes nothing.

    Example: datafor-token application apply applications/ --dry-run
    """
    from datafor_token.operations import declared

    steps = declared.plan(services().registry, declared.read(path, os.environ), prune=prune)
    doing = [step for step in steps if step.action != "same"]
    warnings = [f"{step.name}: {warning}" for step in steps for warning in _warnings(step)]
    if dry_run:
        _report_dry_run(doing, dry_run, warnings)
        return
    for step in doing:
        _print(step)
    if doing:
        if any(step.action == "delete" for step in doing):
            confirm("Delete the applications that are not declared?", yes=yes)
        declared.apply(services().registry, steps, _CREATOR)
    sentence = f"{len(doing)} changed" if doing else "nothing to change"
    report(sentence, changes=_members(doing), dry_run=False, warnings=warnings)


def _warnings(step: "Step") -> Iterator[str]:
    """Yield the warnings about what a step stores, and about what the files neither keep nor clear."""
    if step.action != "same":
        yield from step.warnings
    for field in step.undeclared:
        yield f'{field} is stored and not declared: it stays; declare {field} = "" to clear it'


def _print(step: "Step") -> None:
    """Print a step of apply before it is done, since it may have to be confirmed."""
    fields = [f"    {field}: {_shown(old)} -> {_shown(new)}" for field, (old, new) in step.changes.items()]
    report_lines(f"{step.action} {step.name}", *fields)


def _shown(value: Any) -> Any:
    """Return a value of a change as a file has it."""
    if value is None:
        return "not set"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _changes(step: "Step") -> dict[str, Any]:
    return {field: {"old": old, "new": new} for field, (old, new) in step.changes.items()}
