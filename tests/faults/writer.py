"""A process that writes, for being traced and killed: ``python -S writer.py FOLDER VARIANT TIMES``.

It says BEGIN, then for each update what became of it, each with one system call; the value of the counter goes up by
one with each. It loads the store and nothing else: the package itself would load Flask.
"""

import os
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def load_only_the_store() -> None:
    """Let ``datafor_token`` be a package without its ``__init__``."""
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
