"""``datafor-token application``: applications, and their declared files."""

import contextlib
import os
from pathlib import Path
from typing import Any

import click
import tomli_w

from datafor_token.applications.record import DEFAULTS, Application
from datafor_token.applications.rules import DEFAULT_GRACE
from datafor_token.cli.output import (
    Commands,
    confirm,
    echo,
    json_option,
    name_damaged,
    read_secret,
    secret_options,
    show,
    show_one,
    show_warnings,
    yes_option,
)
from datafor_token.cli.services import services
from datafor_token.crypto.keys import ALGORITHMS, is_shared, new_secret
from datafor_token.errors import Conflict, NotFound, RecordDamaged
from datafor_token.operations import declared
from datafor_token.printable import printable_json, printable_toml
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import RotateSchema, UpdateSchema

application = Commands(
    "application", help="Manage applications. Example: datafor-token application apply applications/"
)
_CREATOR = "command line"


def _options(command: Any) -> Any:
    """Add the options that ``add`` and ``set`` share: those for the fields of an application."""
    for option in reversed((
        click.option("--algorithm", type=click.Choice(ALGORITHMS), help="Signature algorithm of its tokens."),
        click.option("--token-name", help="Name of the URL parameter for its tokens."),
        click.option("--expire", type=int, help="Token lifetime in seconds."),
        click.option("--claim-username", help="Claim with the user name."),
        click.option("--claim-name", help="Claim with the display name."),
        click.option("--claim-email", help="Claim with the email address."),
        click.option("--inituser", type=click.Choice(["1", "0"]), help="Create unknown users (1) or not (0)."),
        click.option("--initrole", "initroles", multiple=True, help="Role of created users; can be repeated."),
        click.option("--self-service", type=click.Choice(["1", "0"]), help="Allow personal tokens (1) or not (0)."),
    )):  # fmt: skip
        command = option(command)
    return command


def _wanted(values: dict[str, Any]) -> dict[str, Any]:
    return UpdateSchema().read(Body(values, is_form=False))


def _changed(before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields to save: those before the change, replaced by the given ones."""
    claims = {}
    for name, claim in before["fieldmap"].items():
        other = given[f"claim_{name}"]
        claims[name] = claim if other is None else other
    fields = {name: value for name, value in given.items() if not name.startswith("claim_")}
    after = {name: value for name, value in fields.items() if value not in (None, ())}
    return {**before, **after, "fieldmap": claims, "initroles": list(after.get("initroles", before["initroles"]))}


def _fields(one: Application) -> dict[str, Any]:
    return one.to_response(services().clock())


@application.command("list")
@json_option
def list_all(*, as_json: bool) -> None:
    """List applications.

    Example: datafor-token application list
    """
    applications, damaged = services().registry.all_applications()
    rows = [_fields(one) for one in applications]
    columns = ("name", "algorithm", "enable", "token_name", "expire", "inituser", "initroles")
    show(rows if as_json else [{name: row[name] for name in columns} for row in rows], as_json=as_json)
    name_damaged(damaged)


@application.command("show")
@click.argument("name")
@json_option
def show_application(name: str, *, as_json: bool) -> None:
    """Show an application. Its secrets are shown as stars.

    Example: datafor-token application show ERP
    """
    show_one(_fields(services().registry.get(name)), as_json=as_json)


@application.command("add")
@click.argument("name")
@_options
@click.option("--random-secret", is_flag=True, help="Generate a shared secret and print it once.")
@secret_options("secret")
def add(name: str, file: Any, *, random_secret: bool, **given: Any) -> None:
    """Register an application. Its secret is read from a prompt, standard input or a file, or is generated.

    Example: datafor-token application add ERP --algorithm HS256 --random-secret
    """
    algorithm = given["algorithm"] or DEFAULTS["algorithm"]
    if random_secret and not is_shared(algorithm):
        raise click.UsageError(f"{algorithm} needs a public key: --secret-file")
    with contextlib.suppress(NotFound):
        # Checked before the prompt for a secret, and again when the application is stored.
        raise Conflict("name already exists as '%(name)s'", name=services().registry.get(name).name)
    secret = new_secret(algorithm) if random_secret else read_secret("secret", file)
    before = {**DEFAULTS, "name": name, "secret": secret}
    show_warnings(services().registry.save(_wanted(_changed(before, given)), _CREATOR, new=True))
    echo(secret if random_secret else f"{name} was added")


@application.command("set")
@click.argument("name")
@_options
@click.option("--new-secret", is_flag=True, help="Read a new secret; the old one is invalid at once (see rotate).")
@secret_options("secret")
def set_fields(name: str, file: Any, *, new_secret: bool, **given: Any) -> None:
    """Change fields of an application. The other fields stay as they are.

    Example: datafor-token application set ERP --expire 3600 --initrole Sales
    """
    if not new_secret and file is None and all(value in (None, ()) for value in given.values()):
        raise click.UsageError("give at least one change")
    services().registry.get(name)
    secret = {"secret": read_secret("secret", file)} if new_secret or file is not None else {}
    changed, warnings = services().registry.modify(name, lambda before: _wanted(_changed({**before, **secret}, given)))
    show_warnings(warnings)
    echo(f"{changed.name} was changed")


def _set_enable(name: str, value: str) -> None:
    changed, _ = services().registry.modify(name, lambda before: _wanted({**before, "enable": value}))
    echo(f"{changed.name} is {'enabled' if value == '1' else 'disabled'}")


@application.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Accept the tokens of an application.

    Example: datafor-token application enable ERP
    """
    _set_enable(name, "1")


@application.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Refuse the tokens of an application. The sessions that they opened end.

    Example: datafor-token application disable ERP
    """
    _set_enable(name, "0")


@application.command("rotate")
@click.argument("name")
@click.option(
    "--grace", type=int, default=DEFAULT_GRACE, show_default=True, help="Seconds that the old secret remains valid."
)
@secret_options("secret")
def rotate(name: str, grace: int, file: Any) -> None:
    """Give an application a new secret. Without a file, a random one is generated and printed once.

    Example: datafor-token application rotate ERP --grace 86400
    """
    secret = None if file is None else read_secret("secret", file)
    sent = {"name": name, "grace": grace, **({"secret": secret} if secret is not None else {})}
    wanted = RotateSchema().read(Body(sent, is_form=False))
    rotation = services().registry.rotate(wanted["name"], wanted.get("secret"), wanted["grace"])
    show_warnings(rotation.warnings)
    echo(rotation.secret if rotation.secret is not None else f"{name} has a new secret")


@application.command("delete")
@click.argument("name")
@yes_option
def delete(name: str, *, yes: bool) -> None:
    """Delete an application. Its tokens are no longer valid.

    Example: datafor-token application delete ERP --yes
    """
    found = services().registry.get(name)
    confirm(f"Delete the application {found.name}?", yes=yes)
    services().registry.delete(name)
    echo(f"{found.name} was deleted")


@application.command("export")
@click.argument("names", nargs=-1)
@click.option(
    "--format", "form", type=click.Choice(["toml", "json"]), default="toml", show_default=True, help="Format."
)
@click.option("--secrets", is_flag=True, help="Include secrets and initial passwords: not for git.")
def export(names: tuple[str, ...], form: str, *, secrets: bool) -> None:
    """Print applications as a file for apply.

    Example: datafor-token application export > applications.toml
    """
    registry = services().registry
    found, damaged = ([registry.get(name) for name in names], []) if names else registry.all_applications()
    if damaged:
        # Applied with --prune, a file without them would delete them.
        raise RecordDamaged("these records cannot be read: %(names)s", names=", ".join(damaged))
    entries = [declared.declaration(one, with_secrets=secrets) for one in found]
    if form == "toml":
        text = printable_toml(tomli_w.dumps({"application": entries}))
    else:
        text = printable_json(declared.as_json(entries))
    click.echo(text, nl=False)


@application.command("apply")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only print the changes.")
@click.option("--prune", is_flag=True, help="Delete applications that are not declared.")
@yes_option
def apply(path: Path, *, dry_run: bool, prune: bool, yes: bool) -> None:
    """Apply the applications of a file or folder. An error in one of them changes nothing.

    Example: datafor-token application apply applications/ --dry-run
    """
    steps = declared.plan(services().registry, declared.read(path, os.environ), prune=prune)
    for step in steps:
        if step.action == "same":
            continue
        echo(f"{step.action} {step.name}")
        for field, (old, new) in step.changes.items():
            echo(f"    {field}: {old} -> {new}")
        show_warnings(step.warnings, step.name)
    doing = [step for step in steps if step.action != "same"]
    if dry_run or not doing:
        echo(f"{len(doing)} would be changed" if dry_run else "nothing to change")
        return
    if any(step.action == "delete" for step in doing):
        confirm("Delete the applications that are not declared?", yes=yes)
    declared.apply(services().registry, steps, _CREATOR)
    echo(f"{len(doing)} changed")
