"""Rules for names."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.errors import RuleError
from datafor_token.validation import names


@pytest.mark.parametrize("name", ["ERP", "e", "9", "a" * 64, "客户关系", "Müller-Nord_2", "नमस्ते", "E\u0301x"])
def test_application_names_that_are_legal(name: str) -> None:
    """Letters, marks and digits of any script, '_' and '-' make a name, which is returned in NFC."""
    assert names.application_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a.b",
        "../etc",
        "a/b",
        "a\n",
        "\na",
        "_a",
        "-a",
        "\u0301a",
        "a" * 65,
        "a\0",
        "a\u200b",
        "½",
        "a:b",
    ],
)
def test_application_names_that_are_refused(name: str) -> None:
    """Everything else in an application's name is refused, also a trailing line break."""
    with pytest.raises(RuleError):
        names.application_name(name)


@pytest.mark.parametrize("name", ["lena", "a", "x" * 128, "Lena Li", "名前", "a@b.example", "../x", "a,b", "o'neil"])
def test_user_names_that_are_legal(name: str) -> None:
    """A user name may contain inner spaces, and most punctuation."""
    assert names.user_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        "a\u00a0",
        "a:b",
        "a\nb",
        "a\0",
        "\x7f",
        "a\u200bb",
        "a\u2028b",
        "a\u2029b",
        "\u0378",
        "x" * 129,
    ],
)
def test_user_names_that_are_refused(name: str) -> None:
    """Control, format and unassigned characters, line separators, ':' and outer spaces are refused."""
    with pytest.raises(RuleError):
        names.user_name(name)


@pytest.mark.parametrize("name", ["token", "jwt", "T-1_x", "a" * 64])
def test_token_names_that_are_legal(name: str) -> None:
    """The name of a URL parameter consists of ASCII letters, digits, '_' and '-'."""
    assert names.token_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a" * 65, "a b", "tökén", "a=b", "a\n", "name", "username", "next", "ticket", "page", "limit", "role"]
)
def test_token_names_that_are_refused(name: str) -> None:
    """A text that is not a parameter's name, or is a parameter of our own calls, is refused."""
    with pytest.raises(RuleError):
        names.token_name(name)


@given(st.text())
def test_folding_is_stable(name: str) -> None:
    """Folding a folded name does not change it."""
    assert names.fold(names.fold(name)) == names.fold(name)


@pytest.mark.parametrize("rule", [names.application_name, names.user_name, names.role_name, names.token_name])
@given(text=st.text())
def test_a_rule_accepts_its_own_result(rule: Callable[[str], str], text: str) -> None:
    """A rule accepts its own result unchanged, and raises nothing but RuleError."""
    try:
        name = rule(text)
    except RuleError as error:
        assert str(error)
    else:
        assert rule(name) == name


@pytest.mark.parametrize("role", ["", "a,b", "a\n", "a\u200b", "x" * 65])
def test_roles_that_are_refused(role: str) -> None:
    """A role with a comma or control character is refused, since a header would show two roles."""
    with pytest.raises(RuleError):
        names.role_name(role)


@pytest.mark.parametrize("rule", [names.application_name, names.user_name])
def test_very_long_names_are_not_normalised(rule: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of thousands of combining marks is refused without the time that sorting them would take."""
    seen: list[int] = []
    whole = unicodedata.normalize

    def counting(form: str, text: str) -> str:
        seen.append(len(text))
        return whole(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", counting)
    with pytest.raises(RuleError, match="at most"):
        rule("a" + "\u0301\u0316" * 100_000)
    assert max(seen) <= 2048
