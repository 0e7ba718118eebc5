"""Messages that the console shows and their translations: ``python -m tests.console.catalogue`` updates the file.

A message whose words changed a little keeps its translation, marked as fuzzy; a new message has none. The tests of
the catalogue fail until each is translated and no mark is left.
"""

import io
from collections.abc import Iterator

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from datafor_token import errors
from datafor_token.console.language import FOLDER
from datafor_token.settings import table

FILE = FOLDER / "zh" / "LC_MESSAGES" / "messages.po"
PACKAGE = FOLDER.parent.parent
# The folders whose messages a page can show.
FOLDERS = (
    "applications", "audit", "console", "crypto", "gate", "providers", "requests", "tokens", "users", "validation",
    "web",
)  # fmt: skip
# The functions and classes that take a message, with the argument's position where it is not the first.
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None, "gettext": None, "N_": None, "ngettext": (1, 2), "add_count": (1, 2), "Message": None, "about": (2,),
    "of": (2,), "RuleError": None, "JSONError": None, "Refused": (3,), "Forbidden": None, "NotFound": None,
    "Conflict": None, "RotationUndone": None, "LastAdministrator": None, "Overloaded": None, "MalformedRequest": None,
    "AuditUnavailable": None,
}  # fmt: skip
# The errors of settings stop the start, and no page shows them.
_METHODS = [("setting_values.py", "ignore"), ("**.py", "python"), ("**.html", "jinja2")]


def of_the_code() -> Catalog:
    """Return every message of the code, the templates and the table of settings."""
    found = Catalog()
    for place, message in sorted(_extracted(), key=str):
        found.add(message, locations=[(place, 0)])
    return found


def _extracted() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for folder in FOLDERS:
        # By default, the messages of a template with a syntax error would be left out silently.
        loud = {"**.html": {"silent": "false", "newstyle_gettext": "true"}}
        for name, _, message, _, _ in extract_from_dir(PACKAGE / folder, _METHODS, loud, keywords=KEYWORDS):
            yield f"{folder}/{name}", message
    for name in ("settings.py", "operations/checklist.py"):
        for _, _, message, _, _ in extract_from_dir(PACKAGE, [(name, "python")], keywords={"Message": None}):
            yield name, message
    for error in error_classes():
        yield "errors.py", error.message
    for field in table():
        yield "settings.py", field.metadata["help"]
        yield "settings.py", field.metadata["unit"]


def error_classes() -> list[type[errors.DataforTokenError]]:
    """Return all classes of errors."""
    found = [errors.DataforTokenError]
    for one in found:
        found += one.__subclasses__()
    return found


def translated() -> Catalog:
    """Return the messages that are translated."""
    with FILE.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def main() -> None:
    """Update the file."""
    catalogue = translated()
    catalogue.update(of_the_code(), update_creation_date=False)
    catalogue.project, catalogue.version = "datafor_token", "console"
    catalogue.msgid_bugs_address = catalogue.last_translator = catalogue.language_team = ""
    text = io.BytesIO()
    write_po(
        text,
        catalogue,
        width=120,
        omit_header=False,
        include_lineno=False,
        include_previous=True,
        ignore_obsolete=True,
        sort_output=True,
    )
    FILE.write_bytes(text.getvalue())


if __name__ == "__main__":
    main()
