"""The reader's language (English or Simplified Chinese): messages, times, durations and numbers.

The only module that imports Babel. The catalogue is read as text at the start: no compiled file is stored.
"""

import datetime as dt
import functools
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from babel import Locale
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from babel.units import format_unit
from flask import Flask, g

from datafor_token.errors import Message
from datafor_token.web.current import current

COOKIE = "datafor_language"
# By the code for HTML's `lang`; each language has its own name for itself.
LANGUAGES = {"en": "English", "zh-Hans": "简体中文"}
FOLDER = Path(__file__).parent / "translations"
_LOCALES = {"en": Locale("en"), "zh-Hans": Locale("zh", script="Hans")}
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_SIZES = ("bytes", "kB", "MB", "GB", "TB")


def init_app(app: Flask) -> None:
    """Let templates use ``_()``, ``ngettext()`` and ``{% trans %}`` in the language of the request."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]  # i18n's


def code() -> str:
    """Return the language of the request: the one chosen with the switch, else the browser's preference."""
    if "language" not in g:
        chosen = current().cookies.get(COOKIE, "")
        g.language = chosen if chosen in LANGUAGES else current().preferred_language
    found: str = g.language
    return found


def gettext(message: str) -> str:
    """Translate a constant text of the console."""
    return str(_translations(code()).gettext(message))


def ngettext(one: str, many: str, number: int) -> str:
    """Translate a constant text that depends on a number of things."""
    return str(_translations(code()).ngettext(one, many, number))


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a message that is translated where it is shown."""
    return message


def NN_(one: str, many: str) -> tuple[str, str]:  # noqa: N802 - as ``N_``
    """Mark a message that depends on a number of things, which ``ngettext`` translates where it is shown."""
    return one, many


def translated(message: str) -> str:
    """Translate a message of any part of the service, and the messages among its parameters.

    A parameter that is plain text, such as a name, stays as it is.
    """
    if not isinstance(message, Message):
        return gettext(message) if message else ""  # gettext("") is the catalogue's header
    template = gettext(message.template)
    if not message.parameters:
        return template
    return template % {
        name: translated(value) if isinstance(value, Message) else value for name, value in message.parameters.items()
    }


def sentence(message: str) -> str:
    """Translate a message that stands alone: it begins with a capital letter, unless it begins with a parameter."""
    text = translated(message)
    begins_with_parameter = isinstance(message, Message) and message.template.startswith("%(")
    return text if begins_with_parameter else text[:1].upper() + text[1:]


def format_number(value: float) -> str:
    """Return a number with the language's separators."""
    return format_decimal(value, locale=_locale())


def format_list(texts: Iterable[str]) -> str:
    """Return texts as a list in one line, with the language's separator."""
    return gettext(", ").join(texts)


def format_size(size: float) -> str:
    """Return a number of bytes in the largest unit of which there is one."""
    unit = 0
    while size >= 1000 and unit < len(_SIZES) - 1:
        size, unit = size / 1000, unit + 1
    return f"{format_number(round(size, 1))} {gettext(_SIZES[unit])}"


def format_duration(seconds: float) -> str:
    """Return a duration in words, exactly: ``1 day 30 minutes``."""
    # Babel has no long Chinese form of most units; the short form is the usual word, but without the space that the
    # texts of the console have between a number and Chinese characters.
    length: Literal["long", "short"] = "short" if code() == "zh-Hans" else "long"
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(format_unit(count, f"duration-{unit}", length, locale=_locale()))
    text = " ".join(parts) or format_unit(0, "duration-second", length, locale=_locale())
    return re.sub(r"(?<=\d)(?=[\u4e00-\u9fff])", " ", text)


def format_time(milliseconds: float, *, seconds: bool = False) -> str:
    """Return a time (milliseconds since 1970) in UTC, marked as such; JavaScript shows it in the reader's time zone."""
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return format_datetime(when, f"yyyy-MM-dd HH:mm{':ss' if seconds else ''} 'UTC'", locale=_locale())


def iso(milliseconds: float) -> str:
    """Return a time (milliseconds since 1970) in the format of RFC 3339."""
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _locale() -> Locale:
    return _LOCALES[code()]


@functools.cache
def _translations(language: str) -> Any:
    if language == "en":
        return NullTranslations()
    with (FOLDER / "zh" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale="zh_Hans")
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)
