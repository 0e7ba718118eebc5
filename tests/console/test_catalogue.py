"""Messages and their translations: every message that a page can show is in the catalogue."""

import ast
import functools
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flask import Flask

from datafor_token.applications.policy import REPORTABLE
from datafor_token.audit.events import Kind
from datafor_token.console import event_words
from datafor_token.console.language import sentence, translated
from datafor_token.errors import Message, about
from datafor_token.web.api.gate_texts import TEXTS
from tests.console import catalogue
from tests.console.client import Client, api
from tests.handmade_tokens import token
from tests.support import STRONG_SECRET, application

HAN = "[\u4e00-\u9fff]"
FULL_WIDTH = "[\u201c\u201d\u3000-\u303f\uff00-\uff60]"
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
# The position of the message among the arguments.
POSITIONS = {
    **{kind.__name__: 0 for kind in catalogue.error_classes() if kind.__name__ != "InvalidInput"},
    "Message": 0, "RuleError": 0, "JSONError": 0, "InvalidInput.of": 1, "about": 1, "Refused": 2,
}  # fmt: skip


def calls(module: Path) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Return the calls of a module that take a message, with the message."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            position = POSITIONS.get(ast.unparse(node.func).removeprefix("errors."))
            if position is not None and len(node.args) > position:
                yield node, node.args[position]


@functools.cache
def all_calls() -> Sequence[tuple[ast.Call, ast.expr]]:
    """Return the calls of all modules that take a message, with the message."""
    modules = [module for folder in catalogue.FOLDERS for module in sorted((catalogue.PACKAGE / folder).rglob("*.py"))]
    return [found for module in modules for found in calls(module)]


def texts(message: Any) -> tuple[str, ...]:
    """Return the singular and the plural of what the catalogue has as a message or as its translation."""
    return (message,) if isinstance(message, str) else tuple(message)


def chinese() -> Iterator[str]:
    """Return all translations, of the catalogue and of the gate's pages."""
    for message in catalogue.translated():
        if message.id:
            yield from texts(message.string)
    yield from TEXTS["zh-Hans"].values()


def test_every_message_is_translated() -> None:
    """The catalogue has every message and no other; each is translated and not fuzzy, with the same placeholders."""
    wanted = {message.id for message in catalogue.of_the_code() if message.id}
    translated = catalogue.translated()
    found = {message.id: message for message in translated if message.id}
    assert wanted - found.keys() == set()
    assert found.keys() - wanted == set()
    for message in found.values():
        assert not message.fuzzy, message.id
        assert not list(message.check(translated)), message.id
        placeholders = sorted(PLACEHOLDER.findall(texts(message.id)[-1]))
        for text in texts(message.string):
            assert text, message.id
            assert sorted(PLACEHOLDER.findall(text)) == placeholders, message.id


def test_one_term_for_each_concept() -> None:
    """No translation has a word that the glossary replaces, in the catalogue and in the texts of the gate."""
    avoided = [word for _, words in catalogue.GLOSSARY.values() for word in words]
    assert [text for text in chinese() for word in avoided if word in text] == []


def test_chinese_is_set_as_chinese() -> None:
    """Punctuation beside Chinese characters is full-width, and a space is between them and Latin letters or digits."""
    latin = "[A-Za-z0-9]"
    mixed = rf"{HAN}(?:[,;:?!.(]|{latin})|(?:[,;?!)]|{latin}){HAN}"
    beside = re.compile(rf"{mixed}|{HAN} {HAN}|{FULL_WIDTH} | {FULL_WIDTH}")
    # A parameter is mostly a name or a number, but may also be a Chinese text: it is neither here.
    parameters = re.compile(r"%\(\w+\)s|\{\w+\}")
    wrong = [text for text in chinese() if beside.search(parameters.sub("%", text.replace("用户名:密码", "")))]
    assert wrong == []


def test_no_english_is_left() -> None:
    """No translation has an English sentence, as a merge of two translations may leave one."""
    assert [text for text in chinese() if re.search(r"\b[a-z]+(?: [a-z]+){3}", text, re.IGNORECASE)] == []


def test_messages_are_constant() -> None:
    """No error is raised with a text built at run time, which has no translation: values are parameters."""
    built = [
        ast.unparse(call)
        for call, message in all_calls()
        if isinstance(message, ast.JoinedStr | ast.BinOp)
        or (isinstance(message, ast.Call) and ast.unparse(message.func).endswith((".format", ".join")))
    ]
    assert built == []


def test_messages_have_their_parameters() -> None:
    """The parameters of a message are those that its template names."""
    different = [
        ast.unparse(call)
        for call, message in all_calls()
        if isinstance(message, ast.Constant) and isinstance(message.value, str)
        if {keyword.arg for keyword in call.keywords} - {"reason", "log_detail"}
        != set(PLACEHOLDER.findall(message.value))
    ]
    assert different == []


def test_extraction_knows_every_error() -> None:
    """The catalogue finds the message of every class of errors that is given one."""
    given = {
        ast.unparse(call.func).rpartition(".")[2]
        for call, message in all_calls()
        if isinstance(message, ast.Constant) and message.value is not None
    }
    assert given - catalogue.KEYWORDS.keys() == set()


def test_translated(app: Flask) -> None:
    """A message is translated with the messages among its parameters; a parameter that is plain text stays."""
    length = Message("must be at most %(number)s characters long", number=64)
    with app.test_request_context(headers={"Accept-Language": "zh"}):
        assert translated(about("secret", length)) == "secret 最多 64 个字符"
        assert translated(Message("application %(name)s is not enabled", name="Time")) == "应用 Time 未启用"
        assert translated("seconds") == "秒"
        assert translated("no such message") == "no such message"
        assert translated("") == ""
    with app.test_request_context(headers={"Accept-Language": "fr"}):
        assert sentence(length) == "Must be at most 64 characters long"


def test_every_event_has_a_name() -> None:
    """Every event that the audit log can record has a name on the pages."""
    assert event_words.EVENTS.keys() == set(Kind)


def test_no_step_of_a_check_is_english(app: Flask) -> None:
    """Every step of a check is in Chinese: refused for its form, its algorithm, its signature, its claims, its user."""
    api(app, "update", application(secret=STRONG_SECRET, inituser="0"))
    api(app, "update", application(name="Off", secret=STRONG_SECRET[::-1], enable="0"))
    client = Client(app, language="zh")
    client.sign_in()
    good = api(app, "generate", {"name": "ERP", "username": "ghost"})["token"]
    header, payload, signature = good.split(".")
    soon = 4_000_000_000
    tokens = [
        "", "x", f"Bearer {good}", f'"{good}"', f"{header}.{payload}", f"{good}.x.y",
        f"{header}\n.{payload}.{signature}",
        f"https://x.example/?token={good}", f"{{\"token\": \"{good}\"}}", f"{good}=", f"!.{payload}.{signature}",
        f"{header}.{header}A.{signature}", good, f"{header}.{payload}.{signature[::-1]}",
        api(app, "generate", {"name": "ERP", "username": "admin"})["token"],
        token({"loginname": "lena", "exp": 1}, STRONG_SECRET), token({"loginname": "lena"}, STRONG_SECRET),
        token({"loginname": "lena", "exp": "x"}, STRONG_SECRET),
        token({"loginname": "lena", "exp": soon * 1000}, STRONG_SECRET),
        token({"loginname": "lena", "exp": soon, "nbf": soon - 9}, STRONG_SECRET), token({"exp": soon}, STRONG_SECRET),
        token({"loginname": "a:b", "exp": soon}, STRONG_SECRET), token({"loginname": 1, "exp": soon}, STRONG_SECRET),
        token({"loginname": "lena", "exp": soon}, f'"{STRONG_SECRET}"'),
        token({"loginname": "lena", "exp": soon}, STRONG_SECRET, {"typ": "JWT", "alg": "HS384"}),
        token({"loginname": "lena", "exp": soon}, STRONG_SECRET, {"typ": "JWT", "alg": "HS256", "crit": ["x"]}),
        token({"loginname": "lena", "exp": soon}, STRONG_SECRET[::-1]),
    ]  # fmt: skip
    check_in_chinese(client, tokens, ("", "ERP"))


def test_no_step_about_a_policy_is_english(app: Flask) -> None:
    """Every step of a check of the trust policy is in Chinese, whether the token passes it or not."""
    policy = {
        "audience": ["a"], "issuer": "i", "require": {"azp": "p"}, "token_types": ["JWT"], "max_lifetime": 86400,
        "users": "own",
    }  # fmt: skip
    api(app, "update", application(secret=STRONG_SECRET, inituser="1", **policy))
    api(app, "update", application(name="Plain", secret=STRONG_SECRET[::-1]))
    client = Client(app, language="zh")
    client.sign_in()
    good = {"loginname": "lena", "aud": "a", "iss": "i", "azp": "p", "iat": 1722929516, "exp": 1722929516 + 86400}
    wrong: list[dict[str, Any]] = [
        {}, {"aud": "b"}, {"aud": None}, {"iss": "j"}, {"iss": None}, {"azp": "q"}, {"azp": None}, {"iat": None},
        {"exp": 1722929516 + 90000}, {"loginname": "admin"},
    ]  # fmt: skip
    claims = [{name: value for name, value in {**good, **one}.items() if value is not None} for one in wrong]
    tokens = [token(one, STRONG_SECRET) for one in claims]
    tokens.append(token(good, STRONG_SECRET, {"typ": "at+jwt", "alg": "HS256"}))
    tokens += [token(one, STRONG_SECRET[::-1]) for one in (good, {"loginname": "lena", "exp": good["exp"]})]
    check_in_chinese(client, tokens, ("ERP", "Plain"))
    api(app, "update", application(secret=STRONG_SECRET, inituser="1", report=list(REPORTABLE)))
    check_in_chinese(client, tokens, ("ERP",))


def check_in_chinese(client: Client, tokens: list[str], applications: tuple[str, ...]) -> None:
    """Fail if the page of a checked token has three English words in a row."""
    for text in tokens:
        for name in applications:
            page = client.post("refused", {"token": text, "name": name}, page="refused").text
            main = re.sub("<textarea.*?</textarea>|<[^>]+>", " ", page.partition("<main")[2], flags=re.DOTALL)
            assert re.findall(r"\b[a-z]+ [a-z]+ [a-z]+\b", html.unescape(main)) == [], text
