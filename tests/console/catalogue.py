"""The messages of the console and their translations: ``python -m tests.console.catalogue`` brings the file up to date.

New messages come in without a translation, and ``test_language`` fails until they have one.
"""

import io

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from datafor_token.console.language import FOLDER

FILE = FOLDER / "zh" / "LC_MESSAGES" / "messages.po"
_KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}
_METHODS = [("**.py", "python"), ("**.html", "jinja2")]


def of_the_code() -> Catalog:
    """Every message that the code and the templates have."""
    found = Catalog()
    folder = FOLDER.parent
    for name, _, message, _, context in sorted(extract_from_dir(folder, _METHODS, keywords=_KEYWORDS), key=str):
        found.add(message, locations=[(name, 0)], context=context)
    return found


def translated() -> Catalog:
    """What is translated."""
    with FILE.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def main() -> None:
    """Bring the file up to date."""
    catalogue = translated()
    catalogue.update(of_the_code(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.project, catalogue.version = "datafor_token", "console"
    catalogue.msgid_bugs_address = catalogue.last_translator = catalogue.language_team = ""
    text = io.BytesIO()
    write_po(
        text, catalogue, width=120, omit_header=False, include_lineno=False, ignore_obsolete=True, sort_output=True
    )
    FILE.write_bytes(text.getvalue())


if __name__ == "__main__":
    main()
