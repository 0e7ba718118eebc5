"""The page of the audit log without a browser: filters, words, details, "keep looking", and downloads."""

import csv
import html
import io
import json
import re
from typing import Any

import pytest
from flask import Flask

from datafor_token.applications.record import FIELDS
from datafor_token.audit.events import ACCESS_REASONS, REASONS, SIGN_IN_REASONS, Kind
from datafor_token.audit.export import COLUMNS
from datafor_token.console import audit_export, event_words
from datafor_token.console.audit_rows import label_of, row
from datafor_token.metrics.table import WAYS
from datafor_token.settings import Settings
from datafor_token.users.users import User
from tests.audit.test_filters import HOSTILE, line
from tests.console.client import Client, api
from tests.handmade_tokens import claims, token
from tests.support import STRONG_SECRET, application

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    client.sign_in()
    return client


def rows_of(page: str) -> list[str]:
    """Return the text of each row of the table."""
    body = page.partition("<tbody role")[2]
    return [
        " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split()) for part in body.split('<tr role="row">')[1:]
    ]


def write(settings: Settings, *lines: bytes) -> None:
    with (settings.data_dir / "audit.log").open("ab") as file:
        file.write(b"".join(lines))


def test_a_row_is_in_words(app: Flask, admin: Client) -> None:
    """A row has the time with seconds, and words for the event, the way of signing in, the fields and their values."""
    api(app, "update", application(secret=STRONG_SECRET))
    api(app, "update", application(secret=STRONG_SECRET[::-1], expire=3600, enable="0", networks=["10.0.0.0/8"]))
    (shown,) = rows_of(admin.get("audit?event=application_changed").text)
    assert re.match(r"2024-08-06 07:31:56 UTC application changed admin password 127.0.0.1 ERP ", shown)
    assert "Shared secret, Token lifetime: 1 day → 1 hour, Enabled: yes → no, Networks: none → 10.0.0.0/8" in shown
    assert "Shared secret changed; the value is not recorded" in shown
    assert "Token lifetime 1 day 1 hour" in shown
    assert STRONG_SECRET[::-1] not in shown


def test_a_reported_rule(app: Flask, admin: Client) -> None:
    """The row of a would-be refusal names the rule and why it would have refused."""
    api(app, "update", application(secret=STRONG_SECRET, inituser="1", issuer="portal", report="issuer"))
    sent = {"Authorization": f"Bearer {token(claims(iss='other'), STRONG_SECRET)}"}
    response = app.test_client().get("/auth/check", headers=sent)
    assert response.status_code == 200
    (shown,) = rows_of(admin.get("audit?event=rule_reported").text)
    assert "would be refused by a rule lena token 127.0.0.1 ERP , lena wrong issuer" in shown
    assert "Rule Issuer" in shown


def test_every_code_has_a_word() -> None:
    """Each way of signing in, reason, event and field that a line can have has a word."""
    assert event_words.WAYS.keys() >= set(WAYS) | {"command"}
    assert event_words.REASONS.keys() >= {*REASONS, *SIGN_IN_REASONS, *ACCESS_REASONS}
    assert sorted(kind for _, kinds in event_words.GROUPS for kind in kinds) == sorted(Kind)
    user = User(name="lena")
    assert event_words.USER_FIELDS.keys() >= {*user.to_response(), *user.profile, "application", "password"}


def test_every_field_has_a_label(app: Flask) -> None:
    """Each field of an application has a label in the details of an event."""
    with app.test_request_context():
        assert [name for name in FIELDS if label_of(name, Kind.APPLICATION_CHANGED) == name] == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"q": "erp"}, 2), ({"q": "nothing"}, 0), ({"event": "application_added,application_deleted"}, 1),
        ({"address": "127.0.0.0/8", "application": "ERP"}, 2), ({"address": "192.0.2.1"}, 0),
        ({"since": "2024-08-06T07:31", "until": "2024-08-06T07:32:00", "application": "ERP"}, 2),
        ({"age": "1h", "user": "lena"}, 1), ({"until": "2024-08-06T07:31:00"}, 0),
    ],
)  # fmt: skip
def test_filters(app: Flask, admin: Client, filters: dict[str, str], found: int) -> None:
    """The form's filters are those of the call; times without a zone are UTC, and a chosen age stays."""
    api(app, "update", application(secret=STRONG_SECRET))
    api(app, "generate", {"username": "lena"})
    response = admin.post("audit", filters, page="audit")
    assert response.status_code == 303
    shown = admin.get(response.location.removeprefix("/console/")).text
    assert len(rows_of(shown)) == found
    if "age" in filters:
        assert 'name="age" value="1h"' in shown


@pytest.mark.parametrize("field", ["token", "q", "user", "application", "address", "request_id"])
def test_a_pasted_token(app: Flask, admin: Client, field: str) -> None:
    """A token that is pasted becomes its identifier, and is never part of an address; a link with one is redirected."""
    api(app, "update", application(secret=STRONG_SECRET))
    token = api(app, "generate", {"username": "lena"})["token"]
    for sent in (token, f" Bearer {token}\n", f"https://intra.example/?a=b&token={token}"):
        location = admin.post("audit", {field: sent}, page="audit").location
        assert token not in location
        (shown,) = rows_of(admin.get(location.removeprefix("/console/")).text)
        assert "token issued" in shown
    assert admin.get(f"audit?token={token}").location == location


def test_a_pasted_ticket(app: Flask, admin: Client) -> None:
    """A one-time link is found by its ticket."""
    api(app, "update", application(secret=STRONG_SECRET))
    ticket = api(app, "link", {"username": "admin"})["url"].partition("ticket=")[2]
    location = admin.post("audit", {"token": ticket}, page="audit").location
    assert ticket not in location
    assert "one-time link created" in rows_of(admin.get(location.removeprefix("/console/")).text)[0]


@pytest.mark.parametrize(
    "text",
    ["Authorization: Basic YWRtaW46c2VjcmV0", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG", "eyJh.eyJi.Yw.ZA.ZQ"],
)
def test_a_pasted_secret(admin: Client, text: str) -> None:
    """A password, a private key and a token of another system are never part of an address, in whatever field."""
    for field in ("q", "user", "address"):
        location = admin.post("audit", {field: text, "event": "sign_in"}, page="audit").location
        assert location == "/console/audit?event=sign_in"
        assert "was not searched for" in admin.get(location.removeprefix("/console/")).text


def test_wrong_filters(admin: Client) -> None:
    """An invalid filter is named at its field."""
    page = admin.get("audit?id=x&address=y&request_id=z&since=never&event=e")
    assert page.status_code == 400
    for field in ("id", "address", "request_id", "since", "event"):
        assert f'id="{field}-wrong"' in page.text


def test_keep_looking(app: Flask, admin: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that ends before the log does says how far it has looked, and its link continues there."""
    monkeypatch.setattr("datafor_token.audit.search._MOST_LINES", 10)
    api(app, "update", application(name="Old", secret=STRONG_SECRET))
    write(settings, *(line(time=f"2024-08-06T08:00:{second:02}.000Z") for second in range(25)))
    page = admin.get("audit?application=Old").text
    looked: list[str] = []
    while "Keep looking" in page:
        assert rows_of(page) == []
        assert "No events match" not in page
        looked += re.findall(r"Searched back to .*?(\d\d:\d\d:\d\d) UTC", page)
        following = re.findall(r'rel="next" href="(.*?)">Keep looking', page)
        page = admin.get("audit" + html.unescape(following[0])).text
    assert looked == ["08:00:15", "08:00:05"]
    assert len(rows_of(page)) == 1


@pytest.mark.parametrize("text", [SCRIPT, *HOSTILE])
def test_hostile_texts(app: Flask, admin: Client, settings: Settings, text: str) -> None:
    """A text in any member of a line runs nothing, hides nothing and controls nothing, on the page and in the files."""
    members: dict[str, Any] = {
        "event": text, "actor": text, "way": text, "address": text, "request_id": text, "reason": text, "outcome": text,
        "target": {"application": text, "user": text, "token": text}, "fields": [text], "before": {text: text},
        "after": {text: [text]}, "jti": text, "audience": [text], "count": text, "first": text, "expires": text,
    }  # fmt: skip
    write(settings, line(**members), line(**{**members, "event": "user_changed", "target": {"unknown_user": text}}))
    page = admin.get("audit?way=").text
    assert SCRIPT not in page
    assert not re.search(r"[\u202e\x00\x1b]", page)
    assert len(rows_of(page)) >= 3
    exported = admin.get("audit/export").text
    assert len(exported.splitlines()) == len(list(csv.reader(io.StringIO(exported))))
    json.loads(admin.get("audit/export?as=json").data)


def test_a_line_of_other_types(app: Flask) -> None:
    """A line whose members have unexpected types becomes a row."""
    event: dict[str, Any] = {
        "time": "2024-01-01T00:00:00Z",
        "event": "user_changed",
        "target": {"user": 5, "token": []},
    }
    odd: list[Any] = [None, 7, 1e300, "x", [], [None, {}], {}, {"a": None}, True]
    names = (
        "actor", "reason", "count", "first", "fields", "before", "after", "expires", "tokens_before", "jti", "audience",
        "request_ids", "outcome", "way",
    )  # fmt: skip
    with app.test_request_context():
        for value in odd:
            assert row({**event, **dict.fromkeys(names, value)}).user == "5"


def test_downloads(app: Flask, admin: Client) -> None:
    """The files have the events of the page's filters, as attachments: CSV for Excel, and JSON."""
    api(app, "update", application(secret=STRONG_SECRET))
    api(app, "update", application(name="Other", secret=STRONG_SECRET))
    page = admin.get("audit?application=Other").text
    links = [html.unescape(one) for one in re.findall(r'href="/console/(audit/export.*?)" download', page)]
    assert links == ["audit/export?as=csv&application=Other", "audit/export?as=json&application=Other"]
    table, document = (admin.get(link) for link in links)
    assert table.data.startswith(b"\xef\xbb\xbftime,event,")
    assert table.headers["Content-Disposition"] == 'attachment; filename="audit-2024-08-06.csv"'
    assert table.content_type == "text/csv; charset=utf-8"
    (found,) = csv.DictReader(io.StringIO(table.data.decode("utf-8-sig")))
    assert (found["application"], set(found)) == ("Other", set(COLUMNS))
    assert document.json is not None
    assert document.json["complete"] is True
    assert [event["target"]["application"] for event in document.json["data"]] == ["Other"]
    assert admin.get("audit/export?as=json&q=nothing").json == {"data": [], "complete": True}
    assert admin.get("audit/export?address=x").status_code == 303


@pytest.mark.parametrize(("limit", "number"), [("MOST_EVENTS", 2), ("MOST_LINES", 3)])
def test_a_download_that_is_not_complete(
    app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch, limit: str, number: int
) -> None:
    """A download is bounded, and says at its end back to which time it reaches."""
    for name in ("A", "B", "C", "D"):
        api(app, "update", application(name=name, secret=STRONG_SECRET))
    monkeypatch.setattr(audit_export, limit, number)
    document = admin.get("audit/export?as=json").json
    assert document is not None
    assert (len(document["data"]), document["complete"], document["looked_back_to"][:10]) == (
        number,
        False,
        "2024-08-06",
    )
    last = admin.get("audit/export").text.splitlines()[-1]
    assert last.startswith("Incomplete: events before 2024-08-06T")


def test_an_outage(admin: Client, settings: Settings) -> None:
    """If the log cannot be read, page and download are an error, not an empty list."""
    (settings.data_dir / "audit.log").rename(settings.data_dir / "aside")
    (settings.data_dir / "audit.log").mkdir()
    for path in ("audit", "audit/export", "audit/export?as=json"):
        assert admin.get(path).status_code == 503


def test_only_administrators(app: Flask) -> None:
    """Nobody else sees the page, searches or downloads."""
    stranger = Client(app)
    for path in ("audit", "audit/export"):
        assert "/sign-in" in stranger.get(path).location
