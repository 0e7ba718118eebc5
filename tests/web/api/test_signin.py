"""Sign-in with tokens: order of credentials, reasons of ``explain``, first sign-in."""

import json
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from tests.conftest import Caller, Reply, put_user
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic, key_for, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.fixture(autouse=True)
def _applications(caller: Caller) -> None:
    assert caller.post("update", application(initpwd="start", initroles=["SYS_Creator", "Sales"])).status_code == 200


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def user_names(settings: Settings) -> list[str]:
    return sorted(path.name for path in records_in(settings.data_dir, "users"))


def explain(caller: Caller, text: str, **more: str) -> Any:
    response = caller.post("explain", {"token": text, **more})
    assert response.status_code == 200
    return response.json


def test_a_bearer_token_signs_in(caller: Caller) -> None:
    """A bearer token signs its user in."""
    response = caller.get(DETAIL, bearer(token(claims(name="Lena Li", email="lena@example.com"))))
    assert response.json == {
        "success": True,
        "data": {
            "user": {
                "userid": "lena",
                "username": "lena",
                "name": "Lena Li",
                "email": "lena@example.com",
                "type": "SYS_Creator",
                "roles": ["Sales"],
                "enabled": True,
            }
        },
    }


def test_a_token_in_the_url_signs_in(caller: Caller) -> None:
    """A token in the parameter token_name signs its user in, also for a POST."""
    assert caller.get(f"{DETAIL}?token={token(claims())}", {}).json["data"]["user"]["username"] == "lena"
    response = caller.post(f"revoke?token={token(claims())}", {"token": "x"}, {})
    assert response.status_code == 200


def check_refused(response: Reply) -> None:
    assert (response.status_code, response.json) == (401, {"success": False, "code": "401", "msg": "invalid token"})


def test_a_wrong_credential_is_never_passed_over(caller: Caller) -> None:
    """The first of Basic, Bearer, URL and session decides, also if it is wrong and the next one is right."""
    good = token(claims())
    login = caller.post(
        "/plugin/datafor/api/extension/auth/login", {"username": "admin", "password": ADMIN_PASSWORD}, {}
    )
    assert login.status_code == 200
    # From here on the client sends the session cookie.
    assert caller.get(DETAIL, {}).json["data"]["user"]["username"] == "admin"
    assert caller.get(f"{DETAIL}?token={good}", {}).json["data"]["user"]["username"] == "lena"
    check_refused(caller.get(f"{DETAIL}?token=x", {}))
    check_refused(caller.get(f"{DETAIL}?token=", {}))
    check_refused(caller.get(f"{DETAIL}?token={good}", bearer("x")))
    for odd in ("Bearer", "bearer\tx", "Bearer,x", "BEARER=x"):
        check_refused(caller.get(f"{DETAIL}?token={good}", {"Authorization": odd}))
    for odd in ("Basic\tx", "basic,x", "Basic"):
        assert caller.get(DETAIL, {"Authorization": odd}).json["msg"] == "wrong password"
    for other in ("Digest x", "Negotiate y", "Basics x", ""):
        assert caller.get(DETAIL, {"Authorization": other}).status_code == 200
    response = caller.get(f"{DETAIL}?token={good}", basic("admin", "wrong"))
    assert (response.status_code, response.json["msg"]) == (401, "wrong password")
    assert caller.get(f"{DETAIL}?token=x", basic()).status_code == 200


def test_which_parameter_of_a_url(caller: Caller) -> None:
    """A parameter is read only if it is the token_name of an enabled application, whose secret must verify it."""
    caller.post("update", application(name="CRM", token_name="crm", secret="other"))
    erp, crm = token(claims()), token(claims(), secret="other")
    assert caller.get(f"{DETAIL}?token={erp}", {}).status_code == 200
    assert caller.get(f"{DETAIL}?crm={crm}", {}).status_code == 200
    check_refused(caller.get(f"{DETAIL}?token={crm}", {}))
    check_refused(caller.get(f"{DETAIL}?crm={erp}", {}))
    check_refused(caller.get(f"{DETAIL}?token={erp}&token={erp}", {}))
    check_refused(caller.get(f"{DETAIL}?token={erp}&crm={crm}", {}))
    for parameter in ("jwt", "Token", "TOKEN", "token[]"):
        assert caller.get(f"{DETAIL}?{parameter}={erp}", {}).json["msg"] == "not logged in"
    caller.post("update", application(name="CRM", token_name="crm", secret="other", enable="0"))
    assert caller.get(f"{DETAIL}?crm={crm}", {}).json["msg"] == "not logged in"


def test_applications_that_share_a_parameter(caller: Caller) -> None:
    """Tokens of all applications with the same token_name are accepted in it."""
    caller.post("update", application(name="CRM", secret="other"))
    assert caller.get(f"{DETAIL}?token={token(claims())}", {}).status_code == 200
    assert caller.get(f"{DETAIL}?token={token(claims(), secret='other')}", {}).status_code == 200


def test_open_calls_look_at_no_token(caller: Caller) -> None:
    """Calls for anyone ignore a wrong token in the URL."""
    for path in ("/healthz?token=x", "/.well-known/jwks.json?token=x"):
        assert caller.get(path, {}).status_code == 200


def test_the_response_does_not_state_the_reason(caller: Caller, app: Flask) -> None:
    """The response to a refused token is the same for every reason."""
    put_user(app, "off", enabled=False)
    for text in (
        "", "x", token(claims(), "wrong"), token(claims(exp=1)), token(claims(loginname=None)),
        token(claims(loginname="off")), token(claims(), header={"alg": "none"}), token(claims(nbf=NOW + 900)),
    ):  # fmt: skip
        check_refused(caller.get(DETAIL, bearer(text)))


def explained(caller: Caller, text: str, reason: str | None, says: str, **more: str) -> None:
    response = explain(caller, text, **more)
    assert list(response) == ["success", "accepted", "reason", "application", "steps"]
    assert (response["accepted"], response["reason"]) == (reason is None, reason)
    assert [step["ok"] for step in response["steps"]] == [True] * (len(response["steps"]) - 1) + [reason is None]
    assert all(list(step) == ["step", "ok", "detail"] and step["detail"] for step in response["steps"])
    assert says in response["steps"][-1]["detail"], response["steps"][-1]["detail"]
    assert "abcd" not in json.dumps(response)
    status = caller.get(DETAIL, bearer(text)).status_code
    assert status == (200 if reason is None else 401)


@pytest.mark.parametrize("named", [{}, {"name": "ERP"}])
@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("x", "malformed", "three parts"),
        (token(claims()) + "=", "malformed", "three parts"),
        (token(claims(), header={"typ": "JWT", "alg": "HS256", "crit": ["x"]}), "header", "crit"),
        (token(claims(), header={"alg": "HS512"}), "algorithm", "ERP expects HS256, the token says HS512"),
        (token(claims(), secret="other"), "signature", "not signed with the secret of ERP"),
        (token(claims(exp=None)), "no_expiry", "no exp"),
        (token(claims(exp=NOW - 42)), "expired", "expired 42 s ago; this server's clock says 2024-08-06T07:31:56Z"),
        (token(claims(nbf=NOW + 90)), "not_yet_valid", "nbf is 90 s ahead"),
        (token(claims(exp=str(NOW))), "invalid_time", "exp must be a number"),
        (token({"username": "lena", "exp": NOW + 9}), "no_username",
         "the claim is called loginname, the token has exp, username"),
        (token(claims(loginname="a:b")), "invalid_username", "cannot contain ':'"),
        (token(claims(loginname="off")), "disabled_user", "the user off is disabled"),
        (token(claims(loginname="admin")), "administrator_refused", "TOKENS_MAY_ADMINISTER is false"),
        (token(claims()), None, "not an Administrator"),
    ],
)  # fmt: skip
def test_each_reason_is_explained(
    caller: Caller, app: Flask, text: str, reason: str | None, says: str, named: dict[str, str]
) -> None:
    """Explain names the reason with values, and a call with the token is refused."""
    put_user(app, "off", enabled=False)
    explained(caller, text, reason, says, **named)


def test_the_other_reasons(caller: Caller, app: Flask) -> None:
    """Explain names revoked tokens, unknown users and disabled applications."""
    text = token(claims())
    caller.post("update", application(inituser="0"))
    explained(caller, text, "unknown_user", "the user lena does not exist, and ERP creates no users: inituser is 0")
    put_user(app, "lena")
    explained(caller, text, None, "not an Administrator")
    caller.post("update", application(enable="0"))
    explained(caller, text, "disabled_application", "ERP is not enabled")
    caller.post("revoke", {"token": text})
    explained(caller, text, "revoked", "revoked")


def test_the_application_that_came_furthest(caller: Caller) -> None:
    """Without a name, the reason is that of the application whose checks the token passes furthest."""
    caller.post("update", application(name="AAA", algorithm="HS512", secret="other"))
    caller.post("update", application(name="BBB", secret="other"))
    response = explain(caller, token(claims(exp=1)))
    assert (response["reason"], response["application"]) == ("expired", "ERP")
    response = explain(caller, token(claims(), secret="nobody's"))
    assert (response["reason"], response["application"]) == ("signature", None)
    response = explain(caller, token(claims(), header={"alg": "ES256"}))
    assert (response["reason"], response["application"]) == ("algorithm", None)
    assert "AAA expects HS512; BBB expects HS256; ERP expects HS256" in response["steps"][-1]["detail"]
    response = explain(caller, token(claims(exp=1)), name="bbb")
    assert (response["reason"], response["application"]) == ("signature", "BBB")


def test_explain_has_no_effect(caller: Caller, settings: Settings) -> None:
    """Explaining a token creates no user; an unknown application is 404."""
    response = explain(caller, token(claims()))
    assert response["accepted"]
    assert "the user lena is created at the first sign-in, as SYS_Creator" in json.dumps(response)
    assert user_names(settings) == ["admin"]
    assert caller.post("explain", {"token": "x", "name": "nobody"}).status_code == 404
    assert caller.post("explain", {}).json["msg"] == "token is missing: send token, with or without name; or request_id"


def test_the_first_by_name_of_those_that_accept(caller: Caller, settings: Settings) -> None:
    """Of applications with the same secret, the first by name that accepts the token signs the user in."""
    other = {"username": "other", "name": "n", "email": "e"}
    caller.post("update", application(name="A", fieldmap=other))
    caller.post("update", application(name="B", enable="0"))
    caller.post("update", application(name="C", inituser="0"))
    response = explain(caller, token(claims()))
    assert (response["accepted"], response["application"]) == (True, "ERP")
    caller.post("update", application(name="D", initroles=["SYS_Reader"]))
    response = explain(caller, token(claims()))
    assert response["application"] == "D"


def test_a_first_sign_in_creates_the_user(caller: Caller, settings: Settings) -> None:
    """A first sign-in creates the user once, with the mapped claims, initial roles and initial password."""
    text = token(claims(loginname="Le\u0301na", name="Léna\nL", email=["x"]))
    for _ in range(2):
        assert caller.get(DETAIL, bearer(text)).status_code == 200
    assert len(user_names(settings)) == 2
    user = caller.get(DETAIL, basic("léna", "start")).json["data"]["user"]
    assert user == {
        "userid": "léna",
        "username": "Léna",
        "name": "LénaL",
        "email": "",
        "type": "SYS_Creator",
        "roles": ["Sales"],
        "enabled": True,
    }


def test_a_user_without_an_initial_password_has_none(caller: Caller) -> None:
    """Without initpwd a created user has no password; without a user type in initroles it is SYS_Reader."""
    caller.post("update", application(initroles=["Sales"]))
    user = caller.get(DETAIL, bearer(token(claims()))).json["data"]["user"]
    assert (user["type"], user["roles"]) == ("SYS_Reader", ["Sales"])
    for password in ("", "start"):
        assert caller.get(DETAIL, basic("lena", password)).status_code == 401


def test_a_token_never_changes_a_user(caller: Caller, settings: Settings) -> None:
    """A token never changes an existing user."""
    caller.get(DETAIL, bearer(token(claims(name="First"))))
    path = Record(settings.data_dir, "users", "lena")
    before = path.read_text()
    caller.post("update", application(initroles=["SYS_Reader", "Other"], initpwd="new"))
    assert caller.get(DETAIL, bearer(token(claims(loginname="LENA", name="Second")))).status_code == 200
    assert path.read_text() == before


@pytest.mark.tokens_may_administer
def test_weak_secrets_and_administrators(caller: Caller, settings: Settings) -> None:
    """With TOKENS_MAY_ADMINISTER, only an application with a strong secret signs in or creates an Administrator."""
    admins = ["Administrator"]
    caller.post("update", application(initroles=admins))
    for name in ("admin", "newboss"):
        explained(caller, token(claims(loginname=name)), "administrator_refused", "weak")
    assert user_names(settings) == ["admin"]
    caller.post("update", application(initroles=admins, secret=STRONG_SECRET))
    for name in ("admin", "newboss"):
        explained(caller, token(claims(loginname=name), STRONG_SECRET), None, "can sign in an Administrator")
    assert user_names(settings) == ["admin", "newboss"]
    assert caller.get("list", bearer(token(claims(loginname="newboss"), STRONG_SECRET))).status_code == 200


@pytest.mark.tokens_may_administer
def test_a_weak_previous_secret_stays_weak(caller: Caller) -> None:
    """A weak previous secret signs no Administrator in, also if the new one is strong."""
    caller.post("rotate", {"name": "ERP"})
    explained(caller, token(claims(loginname="admin")), "administrator_refused", "weak")
    explained(caller, token(claims()), None, "not an Administrator")


@pytest.mark.tokens_may_administer
def test_a_weak_current_secret_is_weak(caller: Caller) -> None:
    """A strong previous secret signs no Administrator in while the current one is weak."""
    caller.post("update", application(secret=STRONG_SECRET))
    text = token(claims(loginname="admin"), STRONG_SECRET)
    explained(caller, text, None, "can sign in an Administrator")
    caller.post("rotate", {"name": "ERP", "secret": "weak"})
    explained(caller, text, "administrator_refused", "weak")


def test_tokens_do_not_administer(caller: Caller, settings: Settings) -> None:
    """By default, no token signs in or creates an Administrator, whatever its secret."""
    caller.post("update", application(secret=STRONG_SECRET, initroles=["Administrator"]))
    for name in ("admin", "newboss"):
        text = token(claims(loginname=name), STRONG_SECRET)
        explained(caller, text, "administrator_refused", "TOKENS_MAY_ADMINISTER is false")
        assert caller.get("list", bearer(text)).status_code == 401
    assert user_names(settings) == ["admin"]


def test_a_change_takes_effect_at_once(caller: Caller, app: Flask) -> None:
    """A change of application, secret or user affects the next call with the same token."""
    text = token(claims())

    def status() -> int:
        return caller.get(DETAIL, bearer(text)).status_code

    assert status() == 200
    caller.post("update", application(enable="0"))
    assert status() == 401
    caller.post("update", application(enable="1"))
    assert status() == 200
    caller.post("update", application(secret="changed"))
    assert status() == 401
    caller.post("update", application())
    assert status() == 200
    put_user(app, "lena", enabled=False)
    assert status() == 401
    put_user(app, "lena")
    assert status() == 200
    caller.post("delete", {"name": "erp"})
    assert status() == 401


def test_a_token_for_another_algorithm_of_the_same_key(caller: Caller) -> None:
    """An RS256 application refuses a PS256 token of the same key."""
    import jwt

    key = key_for("RS256")
    caller.post("update", application(name="RS", algorithm="RS256", secret=public_pem(key)))
    right = jwt.encode(claims(), key, algorithm="RS256")
    wrong = jwt.encode(claims(), key, algorithm="PS256")
    assert caller.get(DETAIL, bearer(right)).status_code == 200
    check_refused(caller.get(DETAIL, bearer(wrong)))


def test_one_damaged_record_stops_nobody(caller: Caller, settings: Settings) -> None:
    """A damaged application or user does not affect the sign-in of others."""
    Record(settings.data_dir, "applications", "bad").write_text("{")
    Record(settings.data_dir, "users", "paul").write_text("{")
    assert caller.get(DETAIL, bearer(token(claims()))).status_code == 200
    assert caller.get(f"{DETAIL}?token={token(claims())}", {}).status_code == 200
    response = caller.get(DETAIL, bearer(token(claims(loginname="paul"))))
    assert (response.status_code, response.json["msg"]) == (503, "storage is unavailable")
