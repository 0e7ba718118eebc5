"""The service with fixed folders, started again with other keys as a test asks."""

import base64
import json
from pathlib import Path

from click.testing import Result

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.stores import records_in
from tests.support import Clock

KEYS = [bytes(range(start, start + 32)) for start in (0, 32, 64)]
OLD, NEW, NEWEST = (base64.urlsafe_b64encode(key).decode() for key in KEYS)
# Records written by the code of version 0.1.0 with the key OLD and the clock at 1722929516.
BEFORE = json.loads((Path(__file__).parent / "version_0_1_0.json").read_text())


class Service:
    """The service with fixed folders; each start reads the given keys."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock

    def start(self, *keys: str) -> Caller:
        """Start it with these keys in its key file; without users, let it create a new store."""
        config = self.settings.config_dir
        (config / "secret_key").write_text("\n".join(keys) + "\n")
        if not records_in(self.settings.data_dir, "users"):
            (config / "store_id").unlink(missing_ok=True)
            (config / ".last_store_id").touch()
        self.app = create_app(self.settings, clock=self.clock, hasher=CHEAP_FOR_TESTS_ONLY)
        # Without a cookie jar: the cookies that a test gives are sent as they are.
        return Caller(self.app.test_client(use_cookies=False))

    def run(self, *arguments: str, put: str = "") -> str:
        """Run a command that succeeds and return its output."""
        result = self.invoke(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *arguments: str) -> str:
        """Run a command that fails with exit code 1 and return its output."""
        result = self.invoke(*arguments)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.output

    def invoke(self, *arguments: str, put: str = "") -> Result:
        """Run a command."""
        return invoke(self.app, arguments, put=put)
