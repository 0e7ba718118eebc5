"""``datafor-token settings``: the settings and their origins."""

import json
import os

import click

from datafor_token.cli.groups import Commands
from datafor_token.cli.output import report, show
from datafor_token.cli.services import current_settings
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
