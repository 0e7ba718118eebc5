"""File names of records."""

import functools
import hashlib
import re
import unicodedata

from datafor_token.validation.names import fold

HASH_MARK = "~"
_LONGEST_STEM = 200  # bytes; a file name may have 255
_PLAIN = re.compile(r"[a-z0-9_-]{0,200}")  # most names; they are their own file names


@functools.lru_cache(maxsize=8192)
def stem_of(name: str) -> str:
    """Return the name of a record's file without its suffix. No name leaves the folder, and no two names collide."""
    key = fold(name)
    if _PLAIN.fullmatch(key):
        return key
    stem = "".join(map(_encoded, key))
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    # A stem that is not hashed never contains the mark.
    beginning = stem.encode()[: _LONGEST_STEM - len(digest) - 1].decode(errors="ignore")
    return f"{beginning}{HASH_MARK}{digest}"


def _encoded(character: str) -> str:
    """Return the character if it is harmless in a file name, else its UTF-8 bytes as ``%XX``."""
    if character in "_-" or unicodedata.category(character) in ("Ll", "Lo", "Lm", "Lt", "Lu", "Nd", "Mn", "Mc"):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
