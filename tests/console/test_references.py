"""The page that explains a refused request by its reference, without a browser."""

import re

import pytest
from flask import Flask

from tests.conftest import Caller
from tests.console.client import Client, Page, api
from tests.handmade_tokens import NOW, claims, token
from tests.support import application, basic


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    assert client.sign_in().status_code == 303
    api(app, "update", application())
    return client


def refused(caller: Caller, headers: dict[str, str], query: str = "") -> str:
    """Return the reference of a refused request."""
    found: str = caller.get(f"/auth/check{query}", headers).headers["X-Request-ID"]
    return found


def bearer(**changes: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(claims(**changes))}"}


def text(html: str) -> str:
    """Return the text of the result on the page."""
    result = html.partition('<section aria-labelledby="result">')[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", result).split())


def test_a_reference(admin: Client, caller: Caller) -> None:
    """A reference shows the refusal: application, time, way, address, its steps, and what to do about the last."""
    reference = refused(caller, bearer(exp=NOW - 600))
    page = admin.get(f"tokens?request_id=+{reference.upper()}")
    assert page.status_code == 200
    found = text(page.text)
    assert found.startswith("Request refused: ERP 2024-08-06 07:31 UTC bearer 127.0.0.1 Format passed The token can be")
    assert "Signature passed Signed with the secret of ERP Validity period failed" in found
    assert "Expired 600 s ago; this server&#39;s clock says 2024-08-06T07:31:56Z" in found
    assert "What to do: Generate a new token." in found
    assert Page(page.text).values["token"] == reference.upper()


def test_a_password_and_a_requirement(admin: Client, caller: Caller) -> None:
    """The advice is that for a password, or for the requirement of a proxy, with a link to a user who exists."""
    found = text(admin.get(f"tokens?request_id={refused(caller, basic('admin', 'wrong'))}").text)
    assert "admin basic 127.0.0.1 Password failed The user exists and is enabled, and the password is wrong" in found
    assert "What to do: Ask the user to type the password again" in found
    found = text(admin.get(f"tokens?request_id={refused(caller, basic('nobody', 'wrong'))}").text)
    assert "What to do: Ask for the user name" in found
    assert "nobody" not in found
    found = text(admin.get(f"tokens?request_id={refused(caller, bearer(), '?role=Sales')}").text)
    assert "The check requires the role Sales; lena has SYS_Reader" in found
    assert "What to do: Give the user what the check requires" in found


def test_in_chinese(app: Flask, caller: Caller) -> None:
    """The sentence of a recorded step is translated with its values."""
    client = Client(app, language="zh-CN")
    client.sign_in()
    api(app, "update", application())
    found = text(client.get(f"tokens?request_id={refused(caller, bearer(exp=NOW - 600))}").text)
    assert found.startswith("请求被拒绝: ERP")
    assert "600" in found
    assert "expired" not in found.lower()
    assert "clock" not in found


@pytest.mark.parametrize(
    ("typed", "says"),
    [("x", "Must be the 32 hex digits"), ("0" * 32, "No refusal in the audit log has this reference")],
)
def test_a_wrong_reference(admin: Client, typed: str, says: str) -> None:
    """A malformed or unknown reference is an error beside its field, which keeps what was typed."""
    page = Page(admin.get(f"tokens?request_id={typed}").text)
    assert says in page.messages["token"]
    assert page.values["token"] == typed


def test_the_same_box(admin: Client, caller: Caller) -> None:
    """A pasted reference, alone or in the text of an error page or call, leads to a URL with the reference."""
    reference = refused(caller, bearer(exp=NOW - 600))
    for pasted in (reference, f"  {reference.upper()}\n", f"Reference: {reference}", f'{{"request_id":"{reference}"}}'):
        response = admin.post("tokens", {"token": pasted}, page="tokens")
        assert response.headers["Location"] == f"/console/tokens?request_id={reference}"


def test_former_addresses(admin: Client, caller: Caller) -> None:
    """Former addresses lead to their tab, with their query."""
    reference = refused(caller, bearer(exp=NOW - 600))
    for former, present in (
        (f"refused?request_id={reference}", f"tokens?request_id={reference}"),
        ("refused", "tokens"),
        ("try?name=%E4%BC%81&x=a%26b", "tokens/issue?name=%E4%BC%81&x=a%26b"),
        ("issued?user=lena&status=active", "tokens/issued?user=lena&status=active"),
    ):
        response = admin.get(former)
        assert (response.status_code, response.headers["Location"]) == (303, f"/console/{present}")
        assert admin.get(present).status_code == 200


def test_links_that_fix(admin: Client, caller: Caller) -> None:
    """The failed step has links to the pages where the cause can be removed."""
    page = admin.get(f"tokens?request_id={refused(caller, bearer(exp=NOW - 600))}").text
    assert re.search(r'href="/console/tokens/issue\?name=ERP"[^>]*>Issue a new token', page)
    page = admin.get(f"tokens?request_id={refused(caller, bearer(), '?role=Sales')}").text
    assert re.search(r'href="/console/user\?name=lena"[^>]*>Open the user lena', page)


def test_only_administrators(app: Flask, admin: Client, caller: Caller) -> None:
    """Other users cannot look up a reference."""
    reference = refused(caller, bearer(exp=NOW - 600))
    api(app, "update", application(inituser="1", initpwd="the-Password-of-lena"))
    assert caller.get("/auth/check", bearer()).status_code == 200
    lena = Client(app)
    assert lena.sign_in("lena", "the-Password-of-lena").status_code == 303
    assert lena.get(f"tokens?request_id={reference}").status_code == 403
