"""Parser of request bodies and queries: a form or JSON becomes one dict.

Nested form fields are assembled by ``qs-codec``, within limits, and multipart bodies are parsed by Werkzeug. Both get
only text that was decoded strictly here: on their own they would replace bytes that are not UTF-8, and ``qs-codec``
would read ``secret=x]=y`` as a field ``secret=x]``.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import qs_codec
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from datafor_token.errors import FileSent, MalformedRequest, UnsupportedMediaType
from datafor_token.validation import strict_json, utf8

MAX_FIELDS = 512
# Fields with brackets or dots. The time to assemble a list grows with its square: 65 ms for 511 fields.
MAX_NESTED_FIELDS = 320
MAX_KEY_LENGTH = 512  # characters of a field's name, including brackets
_URLENCODED, _MULTIPART, _JSON = "application/x-www-form-urlencoded", "multipart/form-data", "application/json"
# JSON, perhaps in quotes that a shell should have removed.
_LIKE_JSON = re.compile(r"[\s\ufeff]*['\"`‘’“”]*\s*[{\[]")  # noqa: RUF001 - the quotes of word processors
_NO_JSON = (
    "the request body looks like JSON, but is not valid JSON; in cmd.exe and PowerShell, write it to a file"
    " and send that with -d @file.json"
)
_BRACKETS_OR_DOTS = re.compile(r"[\[\].]")
_NESTING = qs_codec.DecodeOptions(
    allow_dots=True,
    depth=8,
    strict_depth=True,
    parameter_limit=MAX_FIELDS,
    list_limit=MAX_FIELDS,
    raise_on_limit_exceeded=True,
)


class Body(NamedTuple):
    """Values of a request, unchecked. In a form every scalar is text, and a nested value may be JSON text."""

    values: Any
    is_form: bool


def decode(content_type: str | None, data: bytes) -> Body:
    """Parse a request body.

    Raise ``UnsupportedMediaType`` for another content type, and ``MalformedRequest`` for a body that cannot be read.
    """
    if not data and content_type is None:
        return Body({}, is_form=True)
    mimetype, boundary = _type(content_type)
    if utf8.is_utf16(data):
        raise MalformedRequest("the request is UTF-16 text: send it as UTF-8")
    data = utf8.without_mark(data)
    if mimetype == _MULTIPART:
        return Body(_nested(_multipart(data, boundary)), is_form=True)
    # The documented example, `curl -d '{...}'`, sends JSON with the content type of a form.
    if mimetype == _JSON or data.lstrip()[:1] in (b"{", b"["):
        return Body(_json(data), is_form=False)
    pairs = _urlencoded(data)
    if pairs and _LIKE_JSON.match(pairs[0][0]):
        raise MalformedRequest(_NO_JSON)
    return Body(_nested(pairs), is_form=True)


@functools.lru_cache(maxsize=64)
def _type(content_type: str | None) -> tuple[str, str]:
    """Return the media type and the boundary; cached, as most clients send the same header."""
    mimetype, options = parse_options_header(content_type)
    known = mimetype.lower() in (_URLENCODED, _MULTIPART, _JSON)
    if not known or options.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType
    return mimetype.lower(), options.get("boundary", "")


def decode_query(query: bytes) -> Body:
    """Parse a query string as a form."""
    return Body(_nested(_urlencoded(query)), is_form=True)


def _json(data: bytes) -> Any:
    try:
        return strict_json.loads(data)
    except strict_json.NotJSON as error:
        # cmd.exe passes on single quotes, and PowerShell drops double quotes.
        if _LIKE_JSON.match(data.decode()):
            raise MalformedRequest(_NO_JSON) from None
        raise MalformedRequest("the request body %(detail)s", detail=error.message) from None
    except strict_json.JSONError as error:
        raise MalformedRequest("the request body %(detail)s", detail=error.message) from None


def _urlencoded(data: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise MalformedRequest("the request is not UTF-8 text") from None
    except ValueError:
        raise MalformedRequest("the request has more than %(number)s fields", number=MAX_FIELDS) from None


def _multipart(data: bytes, boundary: str) -> list[tuple[str, str]]:
    if not boundary:
        raise MalformedRequest("the multipart body has no boundary in its content type")
    decoder = MultipartDecoder(boundary.encode(), max_parts=MAX_FIELDS)
    pairs: list[tuple[str, str]] = []
    name, content = "", b""
    try:
        decoder.receive_data(data)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, File):
                raise FileSent(event.name or "")
            if isinstance(event, Field):
                name, content = event.name or "", b""
            elif isinstance(event, Data):
                content += event.data
                if not event.more_data:
                    pairs.append((name, content.decode("utf-8")))
    except UnicodeDecodeError:
        raise MalformedRequest("the request is not UTF-8 text") from None
    except RequestEntityTooLarge:
        raise MalformedRequest("the request has more than %(number)s fields", number=MAX_FIELDS) from None
    except (ValueError, AttributeError):
        # Werkzeug raises AttributeError if no line break follows the headers of a part.
        raise MalformedRequest("the multipart body is not complete") from None
    return pairs


def _nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    for key, _ in pairs:
        if not key:
            raise MalformedRequest("the request has a field without a name")
        if len(key) > MAX_KEY_LENGTH:
            raise MalformedRequest(
                "the request has a field name of more than %(number)s characters", number=MAX_KEY_LENGTH
            )
    single: dict[str, Any] = dict(pairs)
    if len(single) != len(pairs):
        # A list of all values, so that the schema refuses a scalar that is sent twice.
        all_values: dict[str, list[str]] = {}
        for key, value in pairs:
            all_values.setdefault(key, []).append(value)
        single = {key: values[0] if len(values) == 1 else values for key, values in all_values.items()}
    nested = sum(_BRACKETS_OR_DOTS.search(key) is not None for key in single)
    if not nested:
        return single
    if nested > MAX_NESTED_FIELDS:
        raise MalformedRequest(
            "the request has more than %(number)s fields with brackets or dots", number=MAX_NESTED_FIELDS
        )
    try:
        return qs_codec.decode(single, _NESTING)
    except IndexError:
        raise MalformedRequest("the request has a field that is nested too deep") from None
    except ValueError:
        raise MalformedRequest("the request has a list of more than %(number)s values", number=MAX_FIELDS) from None
