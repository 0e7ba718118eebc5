"""Escaping of text from records, tokens and files for terminals: no character moves the cursor or begins a line."""


def printable(text: str) -> str:
    """Escape every control, format and bidirectional character, line breaks included, as Python writes them."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_json(text: str) -> str:
    """Escape the same characters in a JSON document. They occur only inside strings; its line breaks stay."""
    return "".join(letter if letter == "\n" or letter.isprintable() else _in_json(letter) for letter in text)


def printable_toml(text: str) -> str:
    """Escape the same characters in a TOML document without comments and literal strings."""
    return "".join(letter if letter == "\n" or letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else repr(letter)[1:-1]


def _in_json(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
