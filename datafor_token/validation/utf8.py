"""Decoding of UTF-8, with or without a byte order mark."""

import codecs

from datafor_token.errors import RuleError


def decode(data: bytes) -> str:
    """Decode UTF-8 and remove a byte order mark; raise ``RuleError`` if the bytes are not UTF-8."""
    if is_utf16(data):
        raise RuleError("is UTF-16 text: save it as UTF-8")
    try:
        return without_mark(data).decode("utf-8")
    except UnicodeDecodeError:
        raise RuleError("is not UTF-8 text") from None


def without_mark(data: bytes) -> bytes:
    """Return the bytes without a leading byte order mark."""
    return data.removeprefix(codecs.BOM_UTF8)


def is_utf16(data: bytes) -> bool:
    """Return whether the bytes look like UTF-16, as PowerShell writes it: a byte order mark, or ASCII with NULs."""
    return data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or (len(data) > 1 and data[:2].count(0) == 1)


def without_line_end(text: str) -> str:
    """Return the text without its last line end (Unix or Windows), for a file that contains one value."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
