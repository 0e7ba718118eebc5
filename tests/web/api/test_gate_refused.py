"""Option ``refused`` of ``auth/check``: the second request of a proxy that drops the body of a refusal."""

import pytest
from flask import Flask

from tests.conftest import Caller
from tests.support import STRONG_SECRET, application, basic
from tests.web.api.test_gate import check, signed


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    assert caller.post("update", application(secret=STRONG_SECRET, initroles=["Sales"])).status_code == 200


def test_a_request_that_is_accepted_now(app: Flask) -> None:
    """With refused=1, what would be a 200 is a 503 to be sent again, without an identity and a cookie."""
    for uri, headers in (("/", basic()), (f"/?token={signed()}", {})):
        response = check(app, uri, "?refused=1&cookies=1", **headers)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.get_json()["msg"] == "the request is accepted now: send it again"
        for name in ("Remote-User", "Remote-Groups", "Cookie", "Set-Cookie"):
            assert name not in response.headers


def test_a_refusal(app: Flask) -> None:
    """With refused=1, a refusal is the same as without."""
    for uri, query, status in (("/", "", 401), ("/?token=x", "", 401), (f"/?token={signed()}", "&role=None", 403)):
        first = check(app, uri, f"?{query.removeprefix('&')}")
        second = check(app, uri, f"?refused=1{query}")
        assert (second.status_code, second.json) == (first.status_code, first.json) == (status, first.json)
