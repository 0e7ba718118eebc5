"""The service on one pair of folders, started as often and with whatever keys a test wants."""

import base64
import json
from pathlib import Path

from click.testing import Result

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.stores import records_in
from tests.support import Clock

KEYS = [bytes(range(start, start + 32)) for start in (0, 32, 64)]
OLD, NEW, NEWEST = (base64.urlsafe_b64encode(key).decode() for key in KEYS)
# What version 0.1.0 stored, written by its own code with the key OLD and a clock at 1722929516.
BEFORE = json.loads((Path(__file__).parent / "version_0_1_0.json").read_text())


class Service:
    """The service on one pair of folders, started anew with other keys whenever a test wants."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock

    def start(self, *keys: str) -> Caller:
        """Start it with these keys in its key file; where there is no record, begin anew on purpose."""
        config = self.settings.config_dir
        (config / "secret_key").write_text("\n".join(keys) + "\n")
        if not records_in(self.settings.data_dir, "users"):
            (config / "store_id").unlink(missing_ok=True)
            (config / ".last_store_id").touch()
        self.app = create_app(self.settings, clock=self.clock, hasher=CHEAP_FOR_TESTS_ONLY)
        # Without cookies of its own: those of a test are sent as they are.
        return Caller(self.app.test_client(use_cookies=False))

    def run(self, *arguments: str, put: str = "") -> str:
        """Run a command that succeeds; return what it prints."""
        result = self.invoke(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *arguments: str) -> str:
        """Run a command that is refused; return what it prints."""
        result = self.invoke(*arguments)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.output

    def invoke(self, *arguments: str, put: str = "") -> Result:
        """Run a command."""
        return self.app.test_cli_runner().invoke(args=arguments, input=put)
