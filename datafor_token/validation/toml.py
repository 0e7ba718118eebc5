"""TOML of files that may have secrets: errors have the position only."""

import re
import tomllib
from typing import Any

from datafor_token.errors import RuleError

_POSITION = re.compile(r"\(at (?:line [0-9]+, column [0-9]+|end of document)\)$")


def loads(text: str) -> dict[str, Any]:
    """Parse a TOML text; raise ``RuleError``, a predicate ("is not valid TOML (at line 3, column 5)")."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # The rest of the parser's message can repeat a value or a key.
        place = _POSITION.search(str(error))
        if place is None:
            raise RuleError("is not valid TOML") from None
        raise RuleError("is not valid TOML %(place)s", place=place.group()) from None
