"""Commands run in a pipe."""

from click.testing import Result
from flask import Flask

from tests.conftest import Caller
from tests.support import application


class Shell:
    """Runs commands in a pipe."""

    def __init__(self, app: Flask) -> None:
        self.runner = app.test_cli_runner()

    def __call__(self, *arguments: str, put: str = "") -> Result:
        return self.runner.invoke(args=list(arguments), input=put)

    def done(self, *arguments: str, put: str = "") -> str:
        result = self(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *arguments: str, put: str = "", code: int = 1) -> str:
        result = self(*arguments, put=put)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output


def fill(caller: Caller) -> None:
    for name in ("ERP", "CRM"):
        caller.post("update", application(name=name))
