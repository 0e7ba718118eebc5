"""Helpers of the tests of commands."""

from click.testing import Result
from flask import Flask

from tests.commands import invoke
from tests.conftest import Caller
from tests.support import application


class Shell:
    """Runner of commands without a terminal."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def __call__(self, *arguments: str, put: str | bytes = "") -> Result:
        return invoke(self.app, arguments, put=put)

    def done(self, *arguments: str, put: str = "") -> str:
        """Run a command with ``put`` as standard input; return its standard output, and fail if it is refused."""
        result = self(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.stdout

    def said(self, *arguments: str, put: str = "") -> str:
        """Run a command as ``done`` does; return its sentences, which are on standard error."""
        result = self(*arguments, put=put)
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        return result.stderr

    def refused(self, *arguments: str, put: str = "", code: int = 1) -> str:
        """Run a command that is refused with an exit code; return its output."""
        result = self(*arguments, put=put)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output


def fill(caller: Caller) -> None:
    """Create two applications."""
    for name in ("ERP", "CRM"):
        caller.post("update", application(name=name))
