"""Filters of the audit log: each finds exactly its events, without parsing other lines, whatever the lines hold."""

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from datafor_token.audit import reader, search
from datafor_token.audit.events import Event, Kind, Origin
from datafor_token.audit.filters import Filter, FilteredEvents
from datafor_token.audit.log import Audit
from datafor_token.audit.writer import AuditLog
from datafor_token.metrics.counters import Metrics
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.requests.forms import Body
from datafor_token.validation.logs import timestamp
from tests.audit.test_audit import users_of
from tests.conftest import Caller, services_in
from tests.support import STRONG_SECRET, Clock, application, audit_in

TOKEN = "5ff2b8c59c1f0a6f7a3f1f27f6f2a1d4"
REQUEST = "90d7a6b2c35f41e8a4b8f0e6d1c2b3a4"
HOSTILE = [
    '"event":"sign_in"',
    '","address":"10.0.0.7"',
    "<script>alert(1)</script>",
    "a\nb",
    "\u202e\x00\x1b[2J",
    "\\",
]


def line(**members: Any) -> bytes:
    """Return a line of an event with these members."""
    event = {"time": timestamp(0), "event": "sign_in", "actor": None, "way": "bearer", "address": "10.0.0.7",
             "request_id": REQUEST, "target": {"user": "lena"}, **members}  # fmt: skip
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def write(folder: Path, *lines: bytes, name: str = "audit.log") -> None:
    content = b"".join(lines)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def found(folder: Path, **wanted: Any) -> list[dict[str, Any]]:
    return list(audit_in(folder, Clock()).page(Filter(**wanted), 1000).events)


def read(**query: str) -> dict[str, Any]:
    """Return the fields of a query, checked."""
    return AuditSchema().read(Body(query, is_form=True))


def test_several_kinds(tmp_path: Path) -> None:
    """Several kinds of events are separated by commas."""
    write(tmp_path, *(line(event=kind) for kind in Kind))
    assert {one["event"] for one in found(tmp_path, event="sign_in,sign_in_refused")} == {"sign_in", "sign_in_refused"}


@pytest.mark.parametrize("given", [TOKEN, TOKEN[:12], TOKEN[:20].upper(), f"{'0' * 32}, {TOKEN}"])
def test_a_token(tmp_path: Path, given: str) -> None:
    """A token is found by its identifier, the digits that a page shows of it, or one of several."""
    write(tmp_path, line(target={"token": TOKEN}), line(target={"token": TOKEN[::-1]}), line(jti=TOKEN))
    assert [one["target"] for one in found(tmp_path, id=read(id=given)["id"])] == [{"token": TOKEN}]


def test_a_token_of_an_earlier_version(tmp_path: Path) -> None:
    """The identifier of a token also finds the lines of earlier versions, which have its first 12 digits."""
    write(tmp_path, line(target={"token": TOKEN[:12]}), line(target={"token": TOKEN[:12] + "0" * 20}))
    assert [one["target"]["token"] for one in found(tmp_path, id=TOKEN)] == [TOKEN[:12]]


def test_a_request(tmp_path: Path) -> None:
    """A request is found by its identifier, also where its refusal was only counted."""
    other = "0" * 32
    write(
        tmp_path,
        line(event="a"),
        line(event="b", request_id=other),
        line(event="c", request_id=None, request_ids=[other, REQUEST]),
        line(event="d", request_id=other, target={"user": REQUEST}),
    )
    assert [one["event"] for one in found(tmp_path, request_id=read(request_id=REQUEST.upper())["request_id"])] == [
        "c",
        "a",
    ]


ADDRESSES = ["10.0.0.7", "10.0.0.70", "10.1.0.7", "2001:db8::1", "2001:db8:0:1::1", "2001:db8::/64", "", None]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("10.0.0.7", ["10.0.0.7"]),
        ("10.0.0.0/16", ["10.0.0.7", "10.0.0.70"]),
        ("10.0.0.0/8", ["10.0.0.7", "10.0.0.70", "10.1.0.7"]),
        ("0.0.0.0/0", ["10.0.0.7", "10.0.0.70", "10.1.0.7"]),
        ("::ffff:10.0.0.7", ["10.0.0.7"]),
        ("[2001:DB8::1]:443", ["2001:db8::1", "2001:db8::/64"]),
        ("2001:db8::/48", ["2001:db8::1", "2001:db8:0:1::1", "2001:db8::/64"]),
        ("192.0.2.1", []),
    ],
)
def test_an_address(tmp_path: Path, given: str, expected: list[str]) -> None:
    """A client is found by its address, in any spelling, or by a network; a counted IPv6 client has its /64."""
    write(tmp_path, *(line(address=address) for address in ADDRESSES), b'{"time": "2024-01-01T00:00:00Z", "x": 1}\n')
    assert [one["address"] for one in reversed(found(tmp_path, address=read(address=given)["address"]))] == expected


def test_an_address_in_a_line_of_another_form(tmp_path: Path) -> None:
    """A line that was written by hand, with blanks, is found by its address."""
    write(tmp_path, json.dumps(json.loads(line())).encode() + b"\n")
    assert len(found(tmp_path, address="10.0.0.0/24")) == 1
    assert found(tmp_path, address="10.0.1.0/24") == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_no_member(tmp_path: Path, text: str) -> None:
    """A name that looks like a member of a line is not taken for it."""
    write(tmp_path, line(event="user_made", address="192.0.2.1", actor=text, target={"user": text}))
    assert found(tmp_path, event="sign_in") == []
    assert found(tmp_path, address="10.0.0.7") == []
    assert len(found(tmp_path, event="user_made", address="192.0.2.1")) == 1


@pytest.mark.parametrize(
    ("q", "fits"),
    [
        ("lena", True), ("LENA erp", True), ("erp nobody", False), ("10.0.0", True), (REQUEST[:8], True),
        ("expired", True), ("azp", True), ("portal", True), ("86400", True), ("target", False), ("actor", False),
        ("\uff4cena", True), ("m\u00fcnchen", True), ("MU\u0308NCHEN", True), ("2024-08", True), ("command", False),
        ('"quoted"', True), ("\\", False), ("\u202e", True),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, q: str, fits: bool) -> None:
    """Each word occurs in a value of the event or the name of a changed field, in any spelling, and not in a name of a
    member."""
    event = line(
        time="2024-08-06T07:31:56.000Z", reason="expired", target={"application": "ERP", "user": "lena"},
        fields=["require"], before={"require": {"azp": ["portal"]}, "expire": 86400},
        steps=[{"step": "x", "ok": False, "detail": 'M\u00fcnchen "quoted" \u202e', "values": {}}],
    )  # fmt: skip
    write(tmp_path, event)
    assert len(found(tmp_path, q=q)) == fits


@given(st.data())
@settings(max_examples=60)
def test_filters_agree_with_the_parsed_lines(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The search of raw lines finds the same as one that parses each line."""
    names = st.sampled_from(["lena", "L\u00c9NA", "karl", *HOSTILE])
    events = data.draw(
        st.lists(
            st.builds(
                lambda kind, user, actor, address, token: line(
                    event=kind, actor=actor, address=address, target={"user": user, "token": token}
                ),
                st.sampled_from(list(Kind)), names, st.none() | names, st.sampled_from(ADDRESSES),
                st.sampled_from([TOKEN, TOKEN[:12], "0" * 32]),
            ),
            max_size=8,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("audit")
    write(folder, *events)
    optional = {
        "event": st.sampled_from(["sign_in", "sign_in,user_made"]), "user": names, "id": st.just(TOKEN),
        "address": st.sampled_from(["10.0.0.0/16", "2001:db8::/48"]), "q": st.sampled_from(["lena", "script", "10.0"]),
    }  # fmt: skip
    drawn: dict[str, Any] = data.draw(st.fixed_dictionaries({}, optional=optional))
    wanted = Filter(**drawn)
    audit = audit_in(folder, Clock())
    quick = audit.page(wanted, 100).events
    every = [
        FilteredEvents(wanted, lambda name: name).shown(event) for event in map(search.parse, reversed(events)) if event
    ]
    assert [one for one in every if one is not None] == quick


def test_only_fitting_lines_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No filter parses the lines that it can exclude as text."""
    write(tmp_path, *(line(target={"user": f"user{number}"}) for number in range(100)))
    parsed: list[bytes] = []
    monkeypatch.setattr(search, "parse", parsed.append)
    for wanted in (
        {"event": "user_made"}, {"user": "nobody"}, {"application": "ERP"}, {"id": TOKEN}, {"request_id": "0" * 32},
        {"address": "192.0.2.0/24"}, {"q": "nothing"}, {"until": -7200.0}, {"since": 7200.0, "user": "nobody"},
    ):  # fmt: skip
        assert found(tmp_path, **wanted) == []
    assert parsed == []


def two_years(folder: Path, clock: Clock) -> None:
    """Write a log of two years, rotated each week and compressed but for the newest; each day has an event."""
    for week in range(104):
        begins = clock.now - (104 - week) * 7 * 86400
        lines = [line(time=timestamp(begins + day * 86400), target={"user": f"w{week}d{day}"}) for day in range(7)]
        write(folder, *lines, name="audit.log" if week == 103 else f"audit.log-{week:08}.gz")


def test_two_years_of_logs(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rotated files are searched, newest first; those that begin after the wanted time are not decompressed."""
    two_years(tmp_path, clock)
    assert users_of(found(tmp_path, user="w0d0")) == ["w0d0"]
    every = users_of(found(tmp_path))
    assert every == [f"w{week}d{day}" for week in reversed(range(104)) for day in reversed(range(7))]
    opened: list[object] = []
    plain = reader._File.plain

    def counted(file: reader._File) -> Any:
        opened.append(file)
        return plain(file)

    monkeypatch.setattr(reader._File, "plain", counted)
    until = clock.now - 52 * 7 * 86400
    old = audit_in(tmp_path, clock).page(Filter(until=until, since=until - 86400 * 2), 1).events
    assert users_of(list(old)) == ["w51d6"]
    assert len(opened) <= 2


def test_a_page_says_how_far_it_has_read(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that has a next says back to which time it has read; the last one has neither."""
    monkeypatch.setattr("datafor_token.audit.search._MOST_LINES", 300)
    two_years(tmp_path, clock)
    audit = audit_in(tmp_path, clock)
    times, page, users = [], None, []
    while True:
        one = audit.page(Filter(user="w0d0"), 10, page)
        users += users_of(list(one.events))
        if one.next is None:
            break
        times.append(dt.datetime.fromisoformat(str(one.looked_back_to)).timestamp())
        page = one.next
    assert times == [clock.now - 104 * 7 * 86400 + (728 - 300 * number) * 86400 for number in (1, 2)]
    assert (users, one.looked_back_to) == (["w0d0"], None)


def test_parsing_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after a number of parsed lines too, since parsing takes longer than reading."""
    monkeypatch.setattr("datafor_token.audit.search._MOST_PARSED", 10)
    write(tmp_path, *(line(target={"user": f"\u00e9{number}"}) for number in range(25)))
    page = audit_in(tmp_path, Clock()).page(Filter(user="nobody"))
    assert (page.events, page.next is None, page.looked_back_to) == ([], False, timestamp(0))


@pytest.mark.parametrize("wrong", [0, 4_000_000_000])
def test_a_clock_that_was_wrong(tmp_path: Path, clock: Clock, wrong: float) -> None:
    """Lines of a clock that was years off for a while hide no other event, in whichever place of a file they are."""
    times = [clock.now - 86400 * 3 + number * 60 for number in range(3000)]
    for begin in (0, 500, 1500):
        lines = [line(time=timestamp(time), target={"user": f"user{number}"}) for number, time in enumerate(times)]
        lines[begin:begin] = [line(time=timestamp(wrong + number)) for number in range(100)]
        write(tmp_path, *lines[:1500], name="audit.log.2.gz")
        write(tmp_path, *lines[1500:], name="audit.log.1.gz")
        write(tmp_path, line(time=timestamp(wrong)), line(time=timestamp(clock.now), target={"user": "now"}))
        first, last = times[200], times[2500]
        expected = [f"user{number}" for number in reversed(range(200, 2500))]
        search = audit_in(tmp_path, clock).every(Filter(since=first, until=last))
        assert users_of([one for one in search if one is not None]) == expected
        assert users_of(found(tmp_path, since=clock.now)) == (["now"] if wrong == 0 else ["now", "lena"])


def test_a_clock_that_stepped_back(tmp_path: Path, clock: Clock) -> None:
    """After a step of the clock by up to an hour, a search finds the events of both times."""
    audit = audit_in(tmp_path, clock)
    for user in ("before", "after"):
        for number in range(50):
            audit.record(Event(kind=Kind.SIGN_IN, user=f"{user}{number}"))
            clock.advance(60)
        clock.advance(-3000)
    assert len(found(tmp_path, since=clock.now, until=clock.now + 600)) == 20
    assert len(found(tmp_path, since=clock.now)) == 100


def test_damaged_lines(tmp_path: Path, clock: Clock) -> None:
    """Damaged lines, also the first of a file, hide no event in any filter, and change no order."""
    noise = [
        b"\0" * 5000 + b"\n",
        b"\xff\xfe\n",
        b'{"time":"2024-08-06T07:31:56.000Z"\n',
        b"[1]\n",
        b"x" * 200_000 + b"\n",
    ]
    for number in range(4):
        lines = [
            line(time=timestamp(clock.now + number * 100 + one), target={"user": f"{number}{one}"}) for one in range(5)
        ]
        name = "audit.log" if number == 3 else f"audit.log.{3 - number}.gz"
        write(tmp_path, noise[number], *lines[:3], *noise, *lines[3:], name=name)
    expected = [f"{number}{one}" for number in reversed(range(4)) for one in reversed(range(5))]
    assert users_of(found(tmp_path)) == expected
    for wanted in ({"event": "sign_in"}, {"address": "10.0.0.0/8"}, {"q": "bearer"}, {"until": clock.now + 9999}):
        assert users_of(found(tmp_path, **wanted)) == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_in_every_member(tmp_path: Path, text: str) -> None:
    """A text of any characters in any member stays in its line, is found, and comes back as it was recorded."""
    origin = Origin(text, text, "10.0.0.7", REQUEST)
    audit = Audit(AuditLog(tmp_path), Clock(), lambda: origin, Metrics("test"), b"key")
    event = Event(
        Kind.USER_CHANGED, text, text, fields=[text], reason=text, before={text: text}, after={text: [text]}, jti=text
    )
    audit.record(event)
    assert (tmp_path / "audit.log").read_bytes().count(b"\n") == 1
    filters: list[dict[str, Any]] = [
        {}, {"user": text}, {"q": text.split(maxsplit=1)[0]}, {"application": text},
    ]  # fmt: skip
    for wanted in filters:
        (one,) = audit.page(Filter(**wanted)).events
        assert one["after"] == {text: [text]}


def test_the_call(app: Flask, caller: Caller) -> None:
    """token/audit takes each filter, and says how far it has looked back while there is a next."""
    caller.post("update", application(secret=STRONG_SECRET))
    token = caller.post("generate", {"username": "lena"}).json["token"]
    caller.post("generate", {"username": "otto"})
    event = services_in(app).audit.page(Filter(event="token_generated", user="lena")).events[0]
    identifier = event["target"]["token"]
    assert token not in str(event)
    for query in (
        f"id={identifier}", f"id={identifier[:12]}", f"request_id={event['request_id']}", "q=lena%20generated",
        "event=token_generated,token_personal&address=127.0.0.0/8&q=lena",
    ):  # fmt: skip
        response = caller.get(f"audit?{query}").json
        assert (response["data"], response.keys()) == ([event], {"success", "data"})
    page = caller.get("audit?limit=1").json
    assert page["looked_back_to"] == page["data"][0]["time"]
