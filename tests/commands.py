"""Commands run in the process of the test, on the services of an application and with its clock."""

from collections.abc import Sequence

from click.testing import CliRunner, Result
from flask import Flask

from datafor_token.cli.main import root
from datafor_token.cli.services import Installation
from datafor_token.web.services import services_of


def invoke(app: Flask | None, arguments: Sequence[str], put: str | bytes = "") -> Result:
    """Run a command without a terminal; without an application, it opens the store itself."""
    found = Installation(services_of(app) if app else None)
    return CliRunner().invoke(root, list(arguments), input=put, obj=found, prog_name="datafor-token")
