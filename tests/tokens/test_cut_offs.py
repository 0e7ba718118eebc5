"""Cut-offs: which tokens they refuse, until when, and what issuing does meanwhile."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.applications.index import ApplicationIndex
from datafor_token.applications.rules import LONGEST_EXPIRE
from datafor_token.errors import InvalidInput, JustRevoked, RecordDamaged
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from datafor_token.tokens.cut_offs import COLLECTION, CutOff, CutOffs
from tests.conftest import Caller, services_in
from tests.handmade_tokens import NOW, token
from tests.stores import Record, records_in
from tests.support import SAMPLE_APPLICATION, Clock, application, audit_in, token_parts

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LEEWAY = 30


def status(caller: Caller, text: str) -> int:
    return caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code


def handmade(user: str = "lena", secret: str = "abcd", **claims: Any) -> str:
    """Return a token of another issuer, without iat unless it is given."""
    return token({"loginname": user, "exp": NOW + 10**9, **claims}, secret)


def cut(caller: Caller, **fields: Any) -> None:
    response = caller.post("revoke", {"before": "now", **fields})
    assert response.status_code == 200, response.json


def names_that_exist(caller: Caller) -> None:
    caller.post("update", SAMPLE_APPLICATION)
    caller.post("update", application(name="CRM", secret="other"))
    for user in ("lena", "otto"):
        assert status(caller, handmade(user)) == 200


@pytest.mark.parametrize(
    ("iat", "expected"),
    [(-1, 401), (0, 401), (0.0, 401), (0.999, 401), (1, 200), (1.0, 200), (1.5, 200), (2, 200)],
)
def test_the_second_of_a_cut_off(caller: Caller, clock: Clock, iat: float, expected: int) -> None:
    """A token with iat is refused up to the second of the cut-off, without leeway, and accepted one second later."""
    names_that_exist(caller)
    clock.advance(0.4)
    cut(caller, user="lena")
    clock.advance(5)
    assert status(caller, handmade(iat=NOW + iat)) == expected


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"user": "lena"}, {("lena", "ERP"), ("lena", "CRM")}),
        ({"user": "LENA"}, {("lena", "ERP"), ("lena", "CRM")}),
        ({"application": "ERP"}, {("lena", "ERP"), ("otto", "ERP")}),
        ({"application": "erp"}, {("lena", "ERP"), ("otto", "ERP")}),
        ({"user": "lena", "application": "CRM"}, {("lena", "CRM")}),
        ({"user": "nobody", "application": "CRM"}, set()),
    ],
)
def test_whom_a_cut_off_concerns(caller: Caller, fields: dict[str, str], refused: set[tuple[str, str]]) -> None:
    """A cut-off concerns the tokens of a user, of an application, or of the user from the application, in any case."""
    names_that_exist(caller)
    cut(caller, **fields)
    for user in ("lena", "otto"):
        for name, secret in (("ERP", "abcd"), ("CRM", "other")):
            expected = 401 if (user, name) in refused else 200
            assert status(caller, handmade(user, secret, iat=NOW)) == expected
            assert status(caller, handmade(user, secret)) == expected


@pytest.mark.parametrize("user", ["a\uff1ab", "a~b", "~", "\uff4cena", "ß" * 60, "名" * 128, "a/../b"])
def test_unusual_names(caller: Caller, user: str) -> None:
    """The cut-off of any user name concerns this user and nobody else."""
    names_that_exist(caller)
    others = ["a", "b", "otto"]
    for one in (user, *others):
        assert status(caller, handmade(one)) == 200
    cut(caller, user=user, application="ERP")
    assert [status(caller, handmade(one)) for one in (user, *others)] == [401, 200, 200, 200]
    caller.post("update", application(name="Second", secret="second"))
    cut(caller, user=user)
    assert [status(caller, handmade(one, "second")) for one in (user, *others)] == [401, 200, 200, 200]


def test_until_the_longest_lifetime(caller: Caller, clock: Clock) -> None:
    """Tokens without iat are refused until the longest expire that a cut-off concerns, and the leeway, are over."""
    caller.post("update", application(expire=600))
    caller.post("update", application(name="CRM", secret="other", expire=3600))
    assert status(caller, handmade()) == 200
    cut(caller, user="lena", application="ERP")
    clock.advance(600 + LEEWAY - 1)
    assert status(caller, handmade()) == 401
    clock.advance(1)
    assert status(caller, handmade()) == 200
    # Those with an iat from before remain refused.
    assert status(caller, handmade(iat=NOW)) == 401
    begun = clock()
    cut(caller, user="lena")
    clock.advance(3600 + LEEWAY - 1)
    assert status(caller, handmade()) == 401
    clock.advance(1)
    assert (status(caller, handmade()), status(caller, handmade(iat=begun))) == (200, 401)


@pytest.mark.parametrize("second", [None, 300, 5])
def test_a_lowered_lifetime(caller: Caller, clock: Clock, second: int | None) -> None:
    """A cut-off lasts as long as a token from before the application's lifetime was lowered, and changed again."""
    caller.post("update", application(expire=7200))
    issued = caller.post("generate", {"username": "lena"}).json["token"]
    assert status(caller, issued) == 200
    clock.advance(60)
    caller.post("update", application(expire=10))
    if second is not None:
        caller.post("update", application(expire=second))
    cut(caller, application="ERP")
    clock.advance(7200 - 61)
    assert status(caller, issued) == 401
    found = caller.post("explain", {"token": issued}).json
    assert found["reason"] == "revoked"


def test_an_application_that_is_not_known(caller: Caller, clock: Clock, settings: Settings) -> None:
    """The cut-off of an unknown application, or beside a damaged one, lasts ten years: its lifetime is not known."""
    cut(caller, application="Portal")
    caller.post("update", application(name="Portal"))
    assert status(caller, handmade(exp=NOW + 2 * LONGEST_EXPIRE)) == 401
    clock.advance(LONGEST_EXPIRE + LEEWAY - 1)
    assert status(caller, handmade(exp=NOW + 2 * LONGEST_EXPIRE)) == 401
    clock.advance(1)
    assert status(caller, handmade(exp=NOW + 2 * LONGEST_EXPIRE)) == 200
    record = Record(settings.data_dir, "applications", "portal")
    whole = record.read_text()
    record.write_text("{")
    cut(caller, user="lena")
    record.write_text(whole)
    clock.advance(LONGEST_EXPIRE - 1)
    assert status(caller, handmade(exp=NOW + 10 * LONGEST_EXPIRE)) == 401


def test_an_earlier_time_takes_nothing_back(caller: Caller, clock: Clock) -> None:
    """Of two cut-offs of the same names the later time remains, whichever is set last; the response says so."""
    names_that_exist(caller)
    clock.advance(100)
    cut(caller, user="lena")
    clock.advance(100)
    response = caller.post("revoke", {"user": "lena", "before": NOW * 1000})
    assert response.json["warnings"] == ["an earlier call set a later time, which remains: 2024-08-06T07:33:36Z"]
    assert status(caller, handmade(iat=NOW + 100)) == 401
    (found,) = caller.get(f"{DETAIL}?username=lena").json["data"]["user"]["cut_offs"]
    assert (found["before"], found["set"]) == ((NOW + 100) * 1000, (NOW + 100) * 1000)


def test_issuing(caller: Caller, clock: Clock) -> None:
    """generate adds iat before exp while a cut-off is in force, is 503 in its second, and changes no other token."""
    caller.post("update", application(fieldmap={"username": "ERP", "name": "name", "email": "email"}))
    sample = caller.post("generate", {"username": "admin"}).json["token"]
    assert sample == (
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"
        ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
    )
    cut(caller, user="lena")
    assert caller.post("generate", {"username": "admin"}).json["token"] == sample
    refused = caller.post("generate", {"username": "lena"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json["msg"] == "the tokens of this second were revoked: try again in a second"
    clock.advance(1)
    text = caller.post("generate", {"username": "lena", "payload": {"email": "l@x"}}).json["token"]
    assert list(token_parts(text)[1].items()) == [
        ("ERP", "lena"), ("email", "l@x"), ("iat", NOW + 1), ("exp", NOW + 1 + 86400),
    ]  # fmt: skip
    assert status(caller, text) == 200
    clock.advance(86400 + LEEWAY)
    assert "iat" not in token_parts(caller.post("generate", {"username": "lena"}).json["token"])[1]


def test_a_clock_behind_the_one_that_set_it(caller: Caller, clock: Clock) -> None:
    """A node whose clock is behind issues nothing for the user until its clock has passed the cut-off."""
    caller.post("update", SAMPLE_APPLICATION)
    clock.advance(7)
    cut(caller, user="lena")
    clock.advance(-7)
    assert caller.post("generate", {"username": "lena"}).headers["Retry-After"] == "8"


def test_the_future_is_refused(caller: Caller, clock: Clock) -> None:
    """A time in the future is 400; the present millisecond is not."""
    for much, expected in ((1, 400), (0, 200)):
        response = caller.post("revoke", {"user": "lena", "before": int(clock() * 1000) + much})
        assert response.status_code == expected


DAMAGES: Sequence[Callable[[dict[str, Any]], object]] = [
    lambda found: found.pop("before"),
    lambda found: found.pop("format"),
    lambda found: found.update(format=2),
    lambda found: found.update(before="1"),
    lambda found: found.update(before=True),
    lambda found: found.update(until=None),
    lambda found: found.update(user=None),
    lambda found: found.update(user="otto"),
    lambda found: found.update(application="ERP"),
]


@pytest.mark.parametrize("damage", [*DAMAGES, None])
def test_a_damaged_record(
    caller: Caller, settings: Settings, damage: Callable[[dict[str, Any]], object] | None
) -> None:
    """A damaged cut-off is 503 for those whom it may concern, and neither accepts nor refuses; others are served."""
    names_that_exist(caller)
    cut(caller, user="lena")
    record = Record(settings.data_dir, COLLECTION, "lena:")
    found = json.loads(record.read_text())
    if damage is not None:
        damage(found)
    record.unlink()
    record.write_text("{" if damage is None else json.dumps(found))
    assert [status(caller, handmade(user)) for user in ("lena", "otto")] == [503, 200]
    assert caller.post("generate", {"name": "ERP", "username": "lena"}).json["msg"] == "storage is unavailable"
    assert caller.post("generate", {"name": "ERP", "username": "otto"}).status_code == 200
    assert caller.post("revoke", {"user": "lena", "before": "now"}).status_code == 503
    # Both are shown, without what cannot be read.
    assert "cut_offs" not in caller.get(f"{DETAIL}?username=lena").json["data"]["user"]


@pytest.mark.file_store
def test_a_renamed_file_may_concern_everybody(caller: Caller, settings: Settings) -> None:
    """A file whose name says no user is 503 for all tokens, until it is moved away."""
    names_that_exist(caller)
    (settings.data_dir / COLLECTION / "copy.json").write_text("{}")
    assert [status(caller, handmade(user)) for user in ("lena", "otto")] == [503, 503]
    (settings.data_dir / COLLECTION / "copy.json").unlink()
    assert status(caller, handmade()) == 200


def test_old_ones_are_removed(app: Flask, caller: Caller, clock: Clock, settings: Settings) -> None:
    """A cut-off is removed a day after no token from before can be valid, ten years after its time."""
    caller.post("update", SAMPLE_APPLICATION)
    cut(caller, user="lena")
    services = services_in(app)
    for seconds, left in ((LONGEST_EXPIRE + LEEWAY + 86400 - 1, 1), (1, 0)):
        clock.advance(seconds)
        services.cut_offs.sweep()
        assert len(records_in(settings.data_dir, COLLECTION)) == left


@pytest.mark.parametrize(
    ("user", "application", "sentence"),
    [
        ("lena", "", "revoked for lena on"),
        ("", "ERP", "revoked for all users of ERP on"),
        ("lena", "ERP", "revoked for lena (tokens of ERP) on"),
    ],
)
def test_its_sentence(user: str, application: str, sentence: str) -> None:
    """The sentence says whose tokens were revoked, when, by whom, up to when; without iat, until when."""
    found = CutOff(user, application, NOW * 1000 - 1, NOW * 1000, "admin", NOW + 60)
    assert found.describe() == (
        f"{sentence} 2024-08-06T07:31:56Z by admin: tokens issued up to 2024-08-06T07:31:55Z are refused"
    )
    assert found.refusal(None) == (
        f"{found.describe()}, and until 2024-08-06T07:32:56Z also tokens without iat, which may be older"
    )


@dataclasses.dataclass
class Named:
    """The part of an application that cut-offs use."""

    name: str
    expire: int
    last_expiry: int = 0


class Applications:
    """Registry of two applications."""

    def index(self) -> ApplicationIndex:
        return ApplicationIndex([Named("ERP", 100), Named("CRM", 50)], ())  # type: ignore[list-item]


@dataclasses.dataclass
class Issued:
    """An issued token, with the time of issuing in seconds since 1970."""

    user: str
    application: str
    time: float
    iat: float | None


_users = st.sampled_from(["lena", "LENA", "otto"])
_applications = st.sampled_from(["ERP", "CRM"])
_steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 1, 3, 40, 130])),
    st.tuples(st.just("issue"), _users, _applications, st.booleans()),
    st.tuples(st.just("cut"), st.none() | _users, st.none() | _applications, st.sampled_from([0, 0, 0, 1, 2.5, 60])),
)


@given(st.lists(_steps, min_size=3, max_size=25))
def test_any_order_of_issuing_and_cutting_off(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """In any order of issuing and cutting off, a token is refused exactly if a cut-off concerns it.

    A token without iat that was issued after the time of a cut-off and before that was set is refused too.
    """
    folder, clock = tmp_path_factory.mktemp("cut_offs"), Clock()
    cut_offs = cut_offs_in(folder, clock)
    # Another process, which reads what the first one writes.
    other = cut_offs_in(folder, clock)
    issued: list[Issued] = []
    cuts: list[tuple[str, str, float, float]] = []
    for kind, *values in steps:
        if kind == "wait":
            clock.advance(values[0])
        elif kind == "issue":
            user, name, wants_iat = values
            try:
                iat = other.new_iat(user, name, clock())
            except JustRevoked:
                assert any(concerns(one, user, name) and int(clock()) <= int(one[2]) for one in cuts)
                continue
            issued.append(Issued(user, name, clock(), clock() if wants_iat else iat))
        elif values[0] or values[1]:
            user, name, ago = values
            cut_offs.set(user, name, int((clock() - ago) * 1000))
            cuts.append((user or "", name or "", clock() - ago, clock()))
        for one in issued:
            lifetime = {"ERP": 100, "CRM": 50}[one.application]
            if clock() >= one.time + lifetime + LEEWAY:
                continue  # expired
            concerned = [cut for cut in cuts if concerns(cut, one.user, one.application)]
            expected = any(
                int(one.time) <= int(before) or (one.iat is None and one.time <= set_at)
                for _, _, before, set_at in concerned
            )
            for process in (cut_offs, other):
                assert (process.refusing(one.user, one.application, one.iat) is not None) is expected, (one, cuts)


def concerns(cut: tuple[str, str, float, float], user: str, name: str) -> bool:
    return cut[0].lower() in ("", user.lower()) and cut[1] in ("", name)


def cut_offs_in(folder: Path, clock: Clock) -> CutOffs:
    store = FileStore(folder, (COLLECTION,), 10)
    return CutOffs(store, audit_in(folder, clock), clock, LEEWAY, Applications())  # type: ignore[arg-type]


def test_a_time_in_the_future(tmp_path: Path) -> None:
    """A cut-off in the future is refused, and nothing is stored."""
    found = cut_offs_in(tmp_path, Clock())
    with pytest.raises(InvalidInput, match="before must not be in the future"):
        found.set("lena", None, NOW * 1000 + 1)
    assert found.of_user("lena") == []


def test_the_record_is_read_as_it_is_written() -> None:
    """A cut-off that is written and read is the same, and a response has no empty member."""
    found = CutOff("lena", "", NOW * 1000, NOW * 1000, "admin", NOW + 0.5)
    assert CutOff.from_document(json.loads(json.dumps(found.to_document()))) == found
    assert found.to_response() == {"user": "lena", "before": NOW * 1000, "set": NOW * 1000, "by": "admin"}
    with pytest.raises(RecordDamaged) as refused:
        CutOff.from_document({**found.to_document(), "before": None})
    assert refused.value.reason == "cut-off 'lena:': before is missing or has an invalid value"
