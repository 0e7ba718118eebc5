"""Parameters of the check's own URL: what they mean, and which of them are refused."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.gate.check_options import CheckOptions, describe, parse

NOTHING = CheckOptions(
    roles=frozenset(),
    types=frozenset(),
    applications=frozenset(),
    redirect=False,
    cookies=False,
    ignore_authorization=False,
    refused=False,
    header=None,
    percent=False,
    audience=None,
    unknown=(),
)
KNOWN = (
    "role",
    "type",
    "application",
    "redirect",
    "cookies",
    "ignore_authorization",
    "refused",
    "header",
    "headers",
    "aud",
)


def test_all_parameters() -> None:
    """Each parameter has its member; of a requirement, all values are there."""
    query = (
        "role=Sales&type=SYS_Reader&application=ERP&redirect=1&cookies=1&ignore_authorization=1&refused=1"
        "&header=x-api-Token&headers=percent&aud=reports&role=North+East&application=%E9%94%80%E5%94%AE"
    )
    assert parse(query) == CheckOptions(
        roles=frozenset({"Sales", "North East"}),
        types=frozenset({"SYS_Reader"}),
        applications=frozenset({"erp", "销售"}),
        redirect=True,
        cookies=True,
        ignore_authorization=True,
        refused=True,
        header="HTTP_X_API_TOKEN",
        percent=True,
        audience="reports",
        unknown=(),
    )


@pytest.mark.parametrize("query", ["", "&&", "redirect=0", "cookies=0&ignore_authorization=0", "redirect=0&redirect=0"])
def test_no_parameter(query: str) -> None:
    """Without parameters nothing is required, and no option is on; 0 switches an option off."""
    assert parse(query) == NOTHING


@pytest.mark.parametrize("query", ["r%6Fle=A%20B", "role=A+B", "&role=A B&&role=A%20B&"])
def test_encoded_names_and_values(query: str) -> None:
    """Names and values are percent-decoded, and a plus is a blank."""
    assert parse(query) == NOTHING._replace(roles=frozenset({"A B"}))


def test_values_without_encoding() -> None:
    """A role that the proxy's file has in UTF-8, without percent-encoding, is that role."""
    sent = "role=销售".encode().decode("latin-1")  # PEP 3333
    assert parse(sent) == parse("role=%E9%94%80%E5%94%AE") == NOTHING._replace(roles=frozenset({"销售"}))


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("rolle=Sales", "rolle"), ("Role=Sales", "Role"), ("role[]=Sales", "role[]"), ("role =Sales", "role "),
        ("=Sales", ""), ("role", "role"), ("role=", "role"), ("role=Sales&role=", "role"), ("role=+", "role"),
        ("application=", "application"), ("type=", "type"), ("type=administrator", "type"),
        ("type=Administrator&type=Admin", "type"),
        ("redirect=", "redirect"), ("redirect=true", "redirect"), ("redirect=1&redirect=0", "redirect"),
        ("cookies=01", "cookies"), ("ignore_authorization=1 ", "ignore_authorization"),
        ("ignore-authorization=1", "ignore-authorization"),
        ("headers=percent&headers=utf8", "headers"), ("headers=Percent", "headers"), ("headers=", "headers"),
        ("header=X-A&header=X-B", "header"), ("header=", "header"), ("aud=", "aud"), ("aud=%20", "aud"),
        ("aud=a&aud=b", "aud"), ("aud=a%0a", "aud"), (f"aud={'x' * 513}", "aud"), ("aud=%e2%80%ae", "aud"),
    ],
)  # fmt: skip
def test_what_is_refused(query: str, unknown: str) -> None:
    """An unknown name, an invalid or empty value, and two values of an option are refused by their name."""
    assert parse(query).unknown == (unknown,)


@pytest.mark.parametrize("query", ["redirect=1&redirect=1", "header=X-A&header=X-A", "aud=a&aud=a"])
def test_the_same_value_twice(query: str) -> None:
    """An option that is repeated with the same value is that option."""
    assert parse(query) == parse(query.partition("&")[0])
    assert parse(query).unknown == ()


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Cookie", "Remote-User", "Host", "X", "X-", "X--Token", "X-A B", "X-A_B", "X-A:", "X-é",
        "X-A\n", f"X-{'a' * 63}", "X-Forwarded-For", "x-forwarded-access-token", "X-Forwarded", "X-Original-URI",
        "X-Original-Authorization", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-Ip", "X-Envoy-External-Address",
        "X-Requested-With", "X-Request-ID", "X-Purpose", "X-Moz", "X-Datafor-Assertion",
    ],
)  # fmt: skip
def test_a_header_that_cannot_have_a_token(name: str) -> None:
    """Only a name that begins with X- is accepted, and none that proxies, browsers or this service set."""
    assert parse(urlencode({"header": name})).unknown == ("header",)


@pytest.mark.parametrize("name", ["X-Api-Token", "x-a", "X-Auth", "X-Real-Ip-Token", "X-Mozart", f"X-{'a' * 62}"])
def test_a_header_that_has_a_token(name: str) -> None:
    """Any other name with letters, digits and hyphens is accepted, in any case."""
    options = parse(urlencode({"header": name}))
    assert (options.header, options.unknown) == ("HTTP_" + name.upper().replace("-", "_"), ())


def test_what_the_log_shows() -> None:
    """The log has at most five of the names, and none that can be a token."""
    assert describe(["a", "b"]).startswith("a, b; known: role, type, ")
    assert describe([f"n{number}" for number in range(7)]).startswith("n0, n1, n2, n3, n4, ...; known: ")
    for name in ("x" * 43, "eyJ.eyJ.s", "a b", "", "é"):
        assert describe([name]).startswith("(too long, or not plain text); known: ")
    # The name of a parameter that exists would say nothing.
    assert describe(["type", "a", "redirect"]).endswith("; not valid: the value of type, the value of redirect")
    assert "not valid" not in describe(["a", "Type"])


TEXTS = st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | st.text(alphabet="role=&;%20+[]1X-\udcff")


@given(TEXTS)
def test_no_query_is_an_internal_error(query: str) -> None:
    """Whatever the query is, it is parsed, and its unknown names can be logged."""
    describe(parse(query).unknown)


@given(st.lists(st.tuples(st.sampled_from(KNOWN) | TEXTS, TEXTS)))
def test_no_accepted_query_has_a_misspelled_name(pairs: list[tuple[str, str]]) -> None:
    """A query is accepted only if all of its names are known; each value of a requirement is then required."""
    pairs = [(_plain(name), _plain(value)) for name, value in pairs]
    options = parse("&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs))
    assert {name for name, _ in pairs} - set(KNOWN) <= set(options.unknown)
    if not options.unknown:
        assert {value for name, value in pairs if name == "role"} == options.roles
        assert {value for name, value in pairs if name == "type"} == options.types
        assert bool(options.applications) is any(name == "application" for name, _ in pairs)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
