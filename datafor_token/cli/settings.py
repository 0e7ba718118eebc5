"""``datafor-token settings``: the settings and their origins."""

import dataclasses
import json
import os
from typing import Any

import click

from datafor_token.cli.groups import Commands
from datafor_token.cli.output import report, show
from datafor_token.cli.rehearsal import days_option, lines_of
from datafor_token.cli.services import current_settings, services
from datafor_token.errors import RuleError
from datafor_token.settings import ENVIRONMENT_ONLY, ENVIRONMENT_PREFIX, bind_address, displayed_value, table

settings = Commands("settings", help="Show and check the settings. Example: datafor-token settings show")
_SECRET = ("SECRET_KEY", "ADMIN_PASSWORD")


@settings.command("show", opens=False)
def show_settings() -> None:
    """Show every setting with its value and origin. Secrets are shown as stars.

    Example: datafor-token settings show
    """
    current = current_settings()
    rows = [
        {
            "name": field.name.upper(),
            "value": displayed_value(current, field),
            "unit": field.metadata["unit"],
            "from": current.origins.get(field.name.upper(), "default"),
        }
        for field in table()
    ]
    for name in ENVIRONMENT_ONLY:
        value = os.environ.get(f"{ENVIRONMENT_PREFIX}{name}")
        if value is not None:
            shown = "************" if name in _SECRET else value
            origin = f"environment variable {ENVIRONMENT_PREFIX}{name}"
            rows.append({"name": name, "value": shown, "unit": "", "from": origin})
    show(rows)


@settings.command("check", opens=False)
def check() -> None:
    """Check the settings. If the service cannot start with them, every error is printed and the exit code is 1.

    Example: datafor-token settings check
    """
    # Loading them reports every error and ends the command.
    folder = current_settings().config_dir
    bind_address(os.environ)
    if folder.is_dir():
        sentence, warnings = f"The settings in {folder} are valid", []
    else:
        sentence = "The settings are valid: all are defaults, or from the environment"
        warnings = [f"the folder {folder} does not exist"]
    report(sentence, valid=True, folder=str(folder), warnings=warnings)


@settings.command("rehearse")
@click.argument("values", metavar="NAME=VALUE...", nargs=-1, required=True)
@days_option
def rehearse(values: tuple[str, ...], days: int | None) -> None:
    """Show which sign-ins of the last days other settings would have refused. Nothing is changed.

    The settings are TOKENS_MAY_ADMINISTER, REQUIRE_STRONG_SECRETS and LEEWAY. With REQUIRE_STRONG_SECRETS=true, the
    applications with a weak secret are named: their tokens stay valid, but their next new secret must be strong.

    Example: datafor-token settings rehearse TOKENS_MAY_ADMINISTER=false LEEWAY=5
    """
    present, wanted = services().settings, _rehearsed(values)
    changes = {name.upper(): {"old": getattr(present, name), "new": value} for name, value in wanted.items()}
    lines = [f"{name}: {_shown(one['old'])} -> {_shown(one['new'])}" for name, one in changes.items()]
    found = services().rehearsals.response({}, dataclasses.replace(present, **wanted), days)
    members: dict[str, Any] = {"changes": changes, "rehearsal": found}
    lines += lines_of(found)
    warnings = []
    if wanted.get("require_strong_secrets"):
        weak, left = services().weak_secrets.search(services().registry.index())
        members["weak_secrets"] = [{"application": name, "detail": detail} for name, detail in weak]
        lines.append(f"applications with a weak secret: {len(weak)}")
        lines += (f"  {name}: {detail}" for name, detail in weak)
        warnings = [f"{left} secrets were not examined"] if left else []
    report(*lines, warnings=warnings, **members)


def _rehearsed(values: tuple[str, ...]) -> dict[str, Any]:
    """Return the values by name of the field; raise ``click.UsageError`` for a setting that refuses no sign-in."""
    from datafor_token.requests.rehearsal_schemas import SETTINGS
    from datafor_token.settings_sources import value_of

    found: dict[str, Any] = {}
    context = click.get_current_context()
    for one in values:
        name, _, text = one.partition("=")
        if name.lower() not in SETTINGS:
            known = ", ".join(SETTINGS).upper()
            raise click.UsageError(f"Give NAME=VALUE, such as LEEWAY=5, with one of {known}", context)
        try:
            found[name.lower()] = value_of(name.upper(), text)
        except RuleError as error:
            raise click.UsageError(f"{name.upper()} {error}", context) from None
    return found


def _shown(value: Any) -> str:
    # LEEWAY=5 as it is written: 5, not 5.0.
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


@settings.command("example", opens=False, json=False)
def example() -> None:
    """Print a settings file in which every setting has its default, commented out.

    Example: datafor-token settings example > config/settings.toml
    """
    click.echo("# The settings of datafor_token. Every line below is a default: remove the '#' to change it.")
    click.echo(f"# An environment variable {ENVIRONMENT_PREFIX}<NAME> overrides this file. An error stops the start.")
    for field in table():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        text = field.metadata["help"].removesuffix(".")
        click.echo(f"\n# {text} ({field.metadata['unit']}).\n#{field.name.upper()} = {json.dumps(default)}")
