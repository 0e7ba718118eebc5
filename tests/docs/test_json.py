"""The JSON of the commands has the members that their page shows."""

import json
import re
from pathlib import Path

import pytest

from tests.docs.commands import contexts, words
from tests.docs.examples import check, examples
from tests.docs.pages import text
from tests.processes import environment, first_start, run

pytestmark = pytest.mark.slow

# Every command that prints JSON, in an order in which each succeeds and has every member that is optional.
COMMANDS = """
drain
user add lena --random-password
user passwd lena --random-password
user set lena --role Sales
user disable lena
user enable lena
user list
user show lena
user sessions admin
user end-sessions admin
application add ERP --random-secret
application check
application list
application show ERP
application set ERP --expire 60
application disable ERP
application enable ERP
application rotate ERP
application export
token generate ERP --username lena
token personal lena
token explain -
token decode -
token issued
token revoke -
gate rotate-key
store check
store backup backup.gz
store restore backup.gz --yes
store init
store migrate --to sqlite:////FOLDER/records.db
audit import
store rekey
audit show
settings show
settings check
settings rehearse LEEWAY=5
application apply applications.json --dry-run
application delete ERP --yes
user delete lena --yes
"""
OPEN_A_SESSION = """
from datafor_token.web.services import services_of
from wsgi import app
services = services_of(app)
services.sessions.open(services.users.get("admin"))
"""


def shown() -> dict[str, set[str]]:
    """Return the members that the page shows, by command."""
    table = text("docs/commands.md").partition("| command | members | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [[re.findall(r"`(.+?)`", cell) for cell in line.split(" | ")[:2]] for line in table.splitlines()]
    return {name: set(members) for names, members in rows for name in names}


def test_the_members_of_each_document(tmp_path: Path) -> None:
    """With ``--json``, each command prints one JSON document, whose members are those of the table."""
    signing = {"DATAFOR_TOKEN_GATE_ASSERTION": "true", "DATAFOR_TOKEN_PUBLIC_URL": "https://intra.example"}
    environ = environment(tmp_path) | signing
    first_start(environ)
    assert run("-c", OPEN_A_SESSION, environ=environ).returncode == 0
    (tmp_path / "applications.json").write_text('{"application": []}')
    # Commands issue no personal tokens.
    entry = {
        "jti": "x",
        "label": "",
        "application": "ERP",
        "issued": 0,
        "expires": 2**50,
        "identifier": "",
        "used": None,
    }
    record = {"format": 1, "name": "lena", "tokens": [entry]}
    (tmp_path / "data/personal_tokens/lena.json").write_text(json.dumps(record))
    found = {}
    token = ""
    for line in COMMANDS.replace("/FOLDER", str(tmp_path)).strip().splitlines():
        # The only command that needs a database.
        store = {"DATAFOR_TOKEN_STORE": f"sqlite:///{tmp_path}/records.db"} if line == "audit import" else {}
        done = run("-m", "datafor_token", *line.split(), "--json", environ=environ | store, folder=tmp_path, put=token)
        assert done.returncode == 0, (line, done.stderr)
        document = json.loads(done.stdout)
        token = document["token"] if line.startswith("token generate") else token
        found[" ".join(line.split()[:2])] = set(document[0] if isinstance(document, list) else document)
    assert found == shown()
    assert set(found) == {
        words(one) for one in contexts() if any("--json" in param.opts for param in one.command.get_params(one))
    }


def test_the_examples_of_scripts(tmp_path: Path) -> None:
    """The commands for scripts work in their order, and print what the page shows."""
    first_start(environment(tmp_path))
    found = examples("docs/commands.md")
    first = next(number for number, one in enumerate(found) if "--random-secret" in one.command)
    last = max(number for number, one in enumerate(found) if one.response)
    check(found[first : last + 1], tmp_path)
