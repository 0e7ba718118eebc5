"""Text from files and requests: UTF-8, with or without a byte order mark."""

import codecs

from datafor_token.errors import RuleError


def decode(data: bytes) -> str:
    """Return the text of the bytes without a byte order mark; raises ``RuleError`` for what is not UTF-8."""
    if is_utf16(data):
        raise RuleError("is UTF-16 text: save it as UTF-8")
    try:
        return without_mark(data).decode("utf-8")
    except UnicodeDecodeError:
        raise RuleError("is not UTF-8 text") from None


def without_mark(data: bytes) -> bytes:
    """Return the bytes without a byte order mark at their beginning."""
    return data.removeprefix(codecs.BOM_UTF8)


def is_utf16(data: bytes) -> bool:
    """Return whether the bytes are UTF-16, as PowerShell may write it: with a mark, or ASCII with NULs between."""
    return data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or (len(data) > 1 and data[:2].count(0) == 1)


def without_line_end(text: str) -> str:
    """Return the content of a file that holds one value without its last line end, of Unix or of Windows."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
