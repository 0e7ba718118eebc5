"""Parser of request bodies: accepted shapes, limits and errors."""

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.errors import DataforTokenError, MalformedRequest, UnsupportedMediaType
from datafor_token.requests.forms import MAX_FIELDS, MAX_NESTED_FIELDS, decode
from tests.validation.test_strict_json import JSON_VALUES

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def multipart(*pairs: tuple[str, str]) -> bytes:
    parts = [f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs]
    return ("".join(parts) + "--XX--\r\n").encode()


NESTED = {"name": "ERP", "fieldmap": {"username": "u", "email": "e"}, "initroles": ["A", "B"]}


@pytest.mark.parametrize(
    "body",
    [
        b"name=ERP&fieldmap[username]=u&fieldmap[email]=e&initroles=A&initroles=B",
        b"name=ERP&fieldmap.username=u&fieldmap.email=e&initroles[]=A&initroles[]=B",
        b"name=ERP&fieldmap.username=u&fieldmap[email]=e&initroles[0]=A&initroles[1]=B",
        b"name=ERP&fieldmap%5Busername%5D=u&fieldmap%5Bemail%5D=e&initroles%5B%5D=A&initroles%5B%5D=B",
    ],
)
def test_nested_form_fields(body: bytes) -> None:
    """Brackets, dots, repeated names and indices give the same object."""
    assert decode(FORM, body).values == NESTED


def test_the_same_in_several_parts() -> None:
    """A multipart form gives the same object."""
    body = multipart(
        ("name", "ERP"), ("fieldmap[username]", "u"), ("fieldmap.email", "e"), ("initroles", "A"), ("initroles", "B")
    )
    assert decode(MULTIPART, body).values == NESTED


@pytest.mark.parametrize("content_type", [FORM, "application/json", "application/json; charset=UTF-8", FORM.upper()])
@pytest.mark.parametrize("blank", [b"", b" \r\n\t"])
def test_json_under_either_type(content_type: str, blank: bytes) -> None:
    """A JSON object is read with its own content type, and with that of a form."""
    body = decode(content_type, blank + json.dumps(NESTED).encode() + blank)
    assert body.values == NESTED
    assert not body.is_form


def test_nothing_at_all_is_an_empty_object() -> None:
    """A POST without body and content type is an empty object, like an empty form."""
    assert decode(None, b"").values == {}
    assert decode(FORM, b"").values == {}


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/xml", "application/jsonx", "application/merge-patch+json", "garbage",
     "application/json; charset=latin-1", "application/x-www-form-urlencoded; charset=utf-16"],
)  # fmt: skip
def test_other_types_are_refused(content_type: str | None) -> None:
    """Another content type or charset is refused."""
    with pytest.raises(UnsupportedMediaType):
        decode(content_type, b"name=ERP")


@given(st.dictionaries(st.from_regex("[a-z_]{1,10}", fullmatch=True), st.text(max_size=40), min_size=1, max_size=8))
def test_flat_forms_are_read_exactly(fields: dict[str, str]) -> None:
    """A form gives every text back unchanged."""
    assert decode(FORM, urlencode(fields).encode()).values == fields


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a==b=c", {"a": "=b=c"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("a+b=c+d%2B", {"a b": "c d+"}),
        ("a=%", {"a": "%"}),
        ("a=%4", {"a": "%4"}),
        ("a=%zz", {"a": "%zz"}),
        ("a=1&a=&a=1", {"a": ["1", "", "1"]}),
        ("é=é", {"é": "é"}),
    ],
)
def test_the_syntax_of_forms(form: str, values: dict[str, Any]) -> None:
    """Only "&" separates fields, empty ones are skipped, "+" is a space, and a broken escape is plain text."""
    assert decode(FORM, form.encode()).values == values


@pytest.mark.parametrize("value", ["x]=y", "[]=", "a&b", "a=b", "a+b", "%5B%5D", "?x", "a;b", "\r\n", "]=]=", "é=]="])
def test_signs_of_the_syntax_in_values(value: str) -> None:
    """Brackets, dots and other syntax of names are plain text in values."""
    assert decode(FORM, b"secret=" + quote(value, safe="]=[").encode()).values == {"secret": value}


@given(JSON_VALUES)
def test_json_bodies_are_read_exactly(value: Any) -> None:
    """JSON gives every value back unchanged."""
    assert decode("application/json", json.dumps(value).encode()).values == value


REFUSED = {
    "bytes that are not UTF-8": (FORM, b"name=\xff"),
    "escapes that are not UTF-8": (FORM, b"name=%ff"),
    "a name that is not UTF-8": (FORM, b"%ff=1"),
    "half a surrogate pair": (FORM, b"name=%ed%a0%80"),
    "JSON that is not UTF-8": ("application/json", b'{"name": "\xff"}'),
    "a field without a name": (FORM, b"=1"),
    "5000 fields": (FORM, b"&".join(b"k%d=1" % number for number in range(5000))),
    "one field 5000 times": (FORM, b"&".join([b"a=1"] * 5000)),
    "an index beyond the limit": (FORM, b"a[5000]=1"),
    "a field 3000 deep": (FORM, b"a" + b"[b]" * 3000 + b"=1"),
    "a field 20 deep": (FORM, b"a" + b".b" * 20 + b"=1"),
    "a very long name": (FORM, b"a" * 5000 + b"=1"),
    "JSON 3000 deep": ("application/json", b'{"a":' * 3000 + b"1" + b"}" * 3000),
    "JSON cut off": ("application/json", b'{"a": 1'),
    "no JSON": ("application/json", b""),
    "a doubled member": (FORM, b'{"name": "a", "name": "b"}'),
    "a huge integer": ("application/json", b'{"a": ' + b"1" * 5000 + b"}"),
    "NaN": ("application/json", b'{"a": NaN}'),
    "no boundary": ("multipart/form-data", b"x"),
    "a broken boundary": (MULTIPART, b"--YY\r\n"),
    "a part cut off": (MULTIPART, b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue'),
    "a part without a name": (MULTIPART, b"--XX\r\nContent-Disposition: form-data\r\n\r\nv\r\n--XX--\r\n"),
    "a part without headers": (MULTIPART, b"--XX\r\n\r\nv\r\n--XX--\r\n"),
    "a part that is not UTF-8": (MULTIPART, multipart(("a", "X")).replace(b"X\r\n--XX--", b"\xff\r\n--XX--")),
    "a file": (MULTIPART, multipart(('a"; filename="f', "v"))),
    "600 parts": (MULTIPART, multipart(*[("a", "1")] * 600)),
}


@pytest.mark.parametrize(("content_type", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read(content_type: str, data: bytes) -> None:
    """An invalid body is 400 with one sentence."""
    with pytest.raises(DataforTokenError) as caught:
        decode(content_type, data)
    assert caught.value.status == 400
    assert len(caught.value.message) < 200


def test_as_many_fields_as_allowed() -> None:
    """As many fields as the limit are accepted."""
    assert len(decode(FORM, b"&".join([b"a=1"] * MAX_FIELDS)).values["a"]) == MAX_FIELDS


def test_a_field_of_two_kinds_is_not_lost() -> None:
    """A field that is a value and an object becomes a list, which no schema accepts."""
    assert decode(FORM, b"fieldmap=x&fieldmap.a=1").values == {"fieldmap": ["x", {"a": "1"}]}


KEYS = st.text(alphabet="ab.[]0 9%", min_size=1, max_size=12)


@given(st.lists(st.tuples(KEYS, st.text(alphabet="x]=[&{", max_size=4)), max_size=12))
def test_form_names_of_any_kind(pairs: list[tuple[str, str]]) -> None:
    """Any names of fields give a dict with all values, or a 400."""
    try:
        values = decode(FORM, urlencode(pairs).encode()).values
    except DataforTokenError as error:
        assert error.status == 400
    else:
        text = json.dumps(values)
        assert all(json.dumps(value) in text for _, value in pairs)


@given(st.sampled_from([FORM, MULTIPART, "application/json"]), st.binary(max_size=300))
def test_bytes_of_any_kind(content_type: str, data: bytes) -> None:
    """Any bytes give a value or a 400."""
    try:
        decode(content_type, data)
    except DataforTokenError as error:
        assert error.status == 400


@given(st.text(max_size=60))
def test_content_types_of_any_kind(content_type: str) -> None:
    """Any content type gives a value, a 400 or a 415."""
    try:
        decode(content_type, b"a=1")
    except (UnsupportedMediaType, MalformedRequest) as error:
        assert error.status in (400, 415)


@pytest.mark.parametrize("field", ["initroles[{}]", "a[b][{}]", "a.b{}"])
def test_nested_fields_are_bounded(field: str) -> None:
    """The number of fields with brackets or dots is limited, as assembling them takes time."""
    fields = [field.format(number).encode() + b"=x" for number in range(MAX_NESTED_FIELDS + 1)]
    assert decode(FORM, b"&".join(fields[:-1])).values
    with pytest.raises(MalformedRequest, match="brackets or dots"):
        decode(FORM, b"&".join(fields))
