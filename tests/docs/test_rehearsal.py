"""The commands of docs/rehearsal.md, in their order."""

import re
import shlex

from flask import Flask

from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.docs import pages
from tests.handmade_tokens import NOW, claims, token
from tests.support import STRONG_SECRET, application

PAGE = "docs/rehearsal.md"
DETAIL = "/plugin/datafor-modeler/api/user/detail"


def like(text: str) -> str:
    """Return a text with a sign for each time, address and reference."""
    return re.sub(r"\d{4}-[\d-]+T[\d:]+Z|\d+\.\d+\.\d+\.\d+|\b[0-9a-f]{32}\b", "*", text)


def test_the_page(app: Flask, caller: Caller) -> None:
    """The dry run prints what the page shows, and its steps report a rule first, and enforce it then."""
    caller.post("update", application(secret=STRONG_SECRET, audience="*"))

    def status(user: str, **changes: str) -> int:
        text = token(claims(loginname=user, exp=NOW + 3600, **changes), STRONG_SECRET)
        return int(caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code)

    def run() -> list[str]:
        """Run the commands of the next block, and return what each of them prints."""
        return [Shell(app).done(*shlex.split(line)[1:]) for line in next(blocks).splitlines()]

    blocks = iter(pages.blocks(PAGE, "sh"))
    assert status("lena", aud="crm") == status("otto", aud="erp", dept="sales") == 200
    (shown,) = pages.blocks(PAGE, "text")
    assert like(run()[0]) == like(shown)
    assert "LEEWAY: 30 -> 5" in run()[0]

    run()  # only reported
    assert status("lena") == 200
    reported, enforced = run()
    assert "rule=require, reason=claim" in reported
    assert 'report: ["require"] -> not set' in enforced
    assert "  claim (ERP): sign-ins: 2, users: 1, addresses: 1" in enforced
    assert status("lena") == 200
    run()
    assert (status("lena"), status("otto", dept="sales")) == (401, 200)
    assert next(blocks, None) is None
