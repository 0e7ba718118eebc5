"""The reader's language: English, or Simplified Chinese; and moments, spans and numbers in its words.

The only module that imports Babel. The catalogue is read as text at the start: no compiled file is kept.
"""

import datetime as dt
import functools
import io
from pathlib import Path
from typing import Any, Literal

from babel import Locale
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from babel.units import format_unit
from flask import Flask, g, request
from werkzeug.datastructures import LanguageAccept

COOKIE = "datafor_language"
# What the switch offers, each in its own words; the key is the code of HTML's `lang`.
LANGUAGES = {"en": "English", "zh-Hans": "简体中文"}
FOLDER = Path(__file__).parent / "translations"
# A reader of any Chinese reads Simplified Chinese rather than English.
_LOCALES = {"en": Locale("en"), "zh-Hans": Locale("zh", script="Hans")}
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def init_app(app: Flask) -> None:
    """Let templates use ``_()``, ``ngettext()`` and ``{% trans %}`` in the language of the request."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]  # i18n's


def code() -> str:
    """The language of the request: as the switch was set, else as the browser prefers."""
    if "language" not in g:
        chosen = request.cookies.get(COOKIE, "")
        g.language = chosen if chosen in LANGUAGES else _preferred(request.accept_languages)
    found: str = g.language
    return found


def gettext(message: str) -> str:
    """The message in the reader's language."""
    return str(_translations(code()).gettext(message))


def ngettext(one: str, many: str, number: int) -> str:
    """The message for that number of things."""
    return str(_translations(code()).ngettext(one, many, number))


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a message that is translated elsewhere."""
    return message


def number(value: float) -> str:
    """A number with the language's separators."""
    return format_decimal(value, locale=_locale())


def span(seconds: float) -> str:
    """A time span in words, exactly: ``1 day 30 minutes``."""
    # Of Chinese, Babel has no long form of most units; the short one is the usual word.
    length: Literal["long", "short"] = "short" if code() == "zh-Hans" else "long"
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(format_unit(count, f"duration-{unit}", length, locale=_locale()))
    separator = "" if code() == "zh-Hans" else " "
    return separator.join(parts) or format_unit(0, "duration-second", length, locale=_locale())


def moment(milliseconds: float) -> str:
    """A moment, given in milliseconds since 1970, in UTC and saying so: JavaScript makes it the reader's own."""
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return format_datetime(when, "yyyy-MM-dd HH:mm 'UTC'", locale=_locale())


def iso(milliseconds: float) -> str:
    """The same as RFC 3339."""
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _preferred(accepted: LanguageAccept) -> str:
    for language, _ in accepted:
        primary = language.lower().replace("_", "-").split("-")[0]
        if primary in ("en", "zh"):
            return "en" if primary == "en" else "zh-Hans"
    return "en"


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
