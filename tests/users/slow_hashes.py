"""The service with hashes that wait while the file ``hold`` exists in its folder, and a clock that ``ahead`` sets."""

import os
import time
from pathlib import Path
from typing import Any

import argon2
import argon2.profiles

from datafor_token import create_app

FOLDER = Path(os.environ["DATAFOR_TOKEN_CONFIG_DIR"])


class SlowHasher(argon2.PasswordHasher):
    def verify(self, *arguments: Any) -> Any:
        while (FOLDER / "hold").exists():
            time.sleep(0.01)
        return super().verify(*arguments)


def clock() -> float:
    ahead = FOLDER / "ahead"
    return 1_800_000_000 + (float(ahead.read_text()) if ahead.exists() else 0)


app = create_app(clock=clock, hasher=SlowHasher.from_parameters(argon2.profiles.CHEAPEST))
