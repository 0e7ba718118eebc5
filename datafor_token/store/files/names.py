"""A record's name becomes a file's name, whatever is in it."""

import functools
import hashlib
import re
import unicodedata

from datafor_token.validation.names import fold

HASH_MARK = "~"
_LONGEST_STEM = 200  # bytes; a file name may have 255
_PLAIN = re.compile(r"[a-z0-9_-]{0,200}")  # what stays as it is, and most names


@functools.lru_cache(maxsize=8192)
def stem_of(name: str) -> str:
    """What the record's file is called, without its ending; no name leaves a folder, no two names collide."""
    # A pure function of its argument: remembering it can never be wrong.
    key = fold(name)
    if _PLAIN.fullmatch(key):
        return key
    stem = "".join(map(_encoded, key))
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    # The mark is no letter: it cannot stand in a name that is not hashed.
    beginning = stem.encode()[: _LONGEST_STEM - len(digest) - 1].decode(errors="ignore")
    return f"{beginning}{HASH_MARK}{digest}"


def _encoded(character: str) -> str:
    """The character where it can do no harm in a file name, else its UTF-8 bytes as ``%XX``."""
    if character in "_-" or unicodedata.category(character) in ("Ll", "Lo", "Lm", "Lt", "Lu", "Nd", "Mn", "Mc"):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
