"""Process that writes, to be traced and killed: ``python -S writer.py FOLDER VARIANT TIMES``.

It prints BEGIN, then the result of each update, each with one system call; each update adds one to the counter. It
imports the store and nothing else: the package itself would import Flask.
"""

import os
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def load_only_the_store() -> None:
    """Make ``datafor_token`` a package without running its ``__init__``."""
    package = types.ModuleType("datafor_token")
    package.__path__ = [str(ROOT / "datafor_token")]
    sys.modules["datafor_token"] = package
    sys.path.insert(0, str(ROOT))


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main(folder: str, variant: str, times: str) -> None:
    from datafor_token.errors import MaybeStored, StoreUnavailable
    from tests.faults.variants import make_store

    store = make_store(Path(folder), variant)

    def change(document: dict[str, object] | None) -> dict[str, object]:
        value = document["value"] if document else 0
        assert isinstance(value, int)
        return {"name": "counter", "value": value + 1, "text": "x" * 5000}

    say("BEGIN")
    for _ in range(int(times)):
        try:
            value = store.update("records", "counter", change)["value"]
        except MaybeStored:
            say("MAYBE")
        except StoreUnavailable:
            say("REFUSED")
        else:
            say(f"ACK {value}")
    say("END")


if __name__ == "__main__":
    load_only_the_store()
    main(*sys.argv[1:])
