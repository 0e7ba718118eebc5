"""Filter of the events of the audit log: for the call, the command and the console."""

import dataclasses
import functools
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from datafor_token.audit.repeats import PREFIX
from datafor_token.audit.search import BaseFilter, Recorded, as_written, folded, may_name
from datafor_token.validation.addresses import Network
from datafor_token.validation.names import fold

_SHORTEST = 12  # digits of a token's identifier, as versions before 0.3.0 wrote it
_ADDRESS = b'"address":'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter(BaseFilter):
    """Filter for events, with the fields of ``AuditSchema``. ``user`` matches the actor and the target.

    ``event`` has the kinds of which an event must be one, ``id`` the identifiers of tokens, separated by commas. An
    identifier may be shortened. ``address`` is a network, ``q`` has words that must all occur in the event.
    """

    event: str | None = None
    id: str | None = None
    address: str | None = None
    request_id: str | None = None
    q: str | None = None


class _Condition(Protocol):
    """One condition of a filter."""

    def may_fit(self, lines: bytes) -> bool:
        """Return whether one of these lines, which were not parsed yet, can fit."""

    def fits(self, members: Mapping[str, Any]) -> bool:
        """Return whether an event fits."""


class FilteredEvents:
    """Search for the events of a filter; ``hashed`` returns the hash that stands for the name of an unknown user."""

    def __init__(self, wanted: Filter, hashed: Callable[[str], str]) -> None:
        self._wanted = wanted
        self.since, self.until = wanted.since, wanted.until
        self._conditions: list[_Condition] = []
        if wanted.event is not None:
            self._conditions.append(_Kinds(wanted.event.split(",")))
        if wanted.id is not None:
            self._conditions.append(_Tokens(wanted.id.split(",")))
        if wanted.request_id is not None:
            self._conditions.append(_Request(wanted.request_id))
        if wanted.application is not None:
            self._conditions.append(_Application(wanted.application))
        if wanted.user is not None:
            self._conditions.append(_User(wanted.user, hashed(wanted.user)))
        if wanted.address is not None:
            self._conditions.append(_Address(ipaddress.ip_network(wanted.address)))
        if wanted.q is not None:
            self._conditions += [_Word(word) for word in fold(wanted.q).split()]

    def may_fit(self, lines: bytes) -> bool:
        """Return whether one of these lines, which were not parsed yet, can fit."""
        for condition in self._conditions:  # noqa: SIM110 - three times as fast as all()
            if not condition.may_fit(lines):
                return False
        return True

    def shown(self, event: Recorded) -> dict[str, Any] | None:
        """Return the members of an event that fits, else None."""
        fits = self._wanted.includes(event.time) and all(one.fits(event.members) for one in self._conditions)
        return event.members if fits else None


def _has_any(lines: bytes, texts: Sequence[bytes]) -> bool:
    for text in texts:  # noqa: SIM110 - three times as fast as any()
        if text in lines:
            return True
    return False


class _Kinds:
    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = frozenset(kinds)
        self._texts = [f'"event":"{kind}"'.encode() for kind in kinds]

    def may_fit(self, lines: bytes) -> bool:
        return _has_any(lines, self._texts)

    def fits(self, members: Mapping[str, Any]) -> bool:
        return members["event"] in self._kinds


class _Tokens:
    """The tokens of these identifiers. Lines of versions before 0.3.0 have the first digits of an identifier only."""

    def __init__(self, identifiers: Sequence[str]) -> None:
        self._identifiers = identifiers
        self._texts = [identifier[:_SHORTEST].encode() for identifier in identifiers]

    def may_fit(self, lines: bytes) -> bool:
        return _has_any(lines, self._texts)

    def fits(self, members: Mapping[str, Any]) -> bool:
        found = members["target"].get("token")
        return isinstance(found, str) and any(
            found.startswith(one) or (len(found) == _SHORTEST and one.startswith(found)) for one in self._identifiers
        )


class _Request:
    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._text = request_id[:PREFIX].encode()

    def may_fit(self, lines: bytes) -> bool:
        return self._text in lines

    def fits(self, members: Mapping[str, Any]) -> bool:
        return is_of_request(members, self._request_id)


def is_of_request(members: Mapping[str, Any], request_id: str) -> bool:
    """Return whether an event is that of a request, or counts it."""
    counted, prefix = members.get("request_ids"), members.get("request_prefix")
    return (
        members.get("request_id") == request_id
        or (isinstance(counted, list) and request_id in counted)
        or (isinstance(prefix, str) and prefix == request_id[:PREFIX])
    )


class _Application:
    def __init__(self, name: str) -> None:
        self._name = fold(name)
        self._names = (as_written(self._name),)

    def may_fit(self, lines: bytes) -> bool:
        return may_name(lines, self._names)

    def fits(self, members: Mapping[str, Any]) -> bool:
        return folded(members["target"].get("application")) == self._name


class _User:
    def __init__(self, name: str, hashed: str) -> None:
        self._name, self._hashed = fold(name), hashed
        self._names = (as_written(self._name), as_written(hashed))

    def may_fit(self, lines: bytes) -> bool:
        return may_name(lines, self._names)

    def fits(self, members: Mapping[str, Any]) -> bool:
        target = members["target"]
        names = (folded(members.get("actor")), folded(target.get("user")))
        return self._name in names or target.get("unknown_user") == self._hashed


class _Address:
    """The clients of a network. A line that counts refusals has the /64 of an IPv6 client, which contains it."""

    def __init__(self, network: Network) -> None:
        # Cached, because few clients send most requests.
        self._includes = functools.lru_cache(maxsize=4096)(functools.partial(_overlaps, network))

    def may_fit(self, lines: bytes) -> bool:
        # Lines of this service have the member in this form; a text in a line cannot, as its quotes are escaped.
        texts = {line.partition(_ADDRESS)[2].partition(b",")[0] for line in lines[:-1].split(b"\n")}
        return any(self._may_be(text) for text in texts if text != b"null")

    def _may_be(self, text: bytes) -> bool:
        is_plain = len(text) > 1 and text.startswith(b'"') and text.endswith(b'"')
        return not is_plain or self._includes(text[1:-1].decode("ascii", "replace"))

    def fits(self, members: Mapping[str, Any]) -> bool:
        address = members.get("address")
        return isinstance(address, str) and self._includes(address)


def _overlaps(network: Network, text: str) -> bool:
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        return False
    return found.version == network.version and found.overlaps(network)


class _Word:
    """A folded word that occurs in a value of the event, or in the name of a changed field."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._words = (as_written(word),)

    def may_fit(self, lines: bytes) -> bool:
        return may_name(lines, self._words)

    def fits(self, members: Mapping[str, Any]) -> bool:
        return any(self._word in fold(text) for text in _texts(list(members.values())))


def _texts(value: object) -> Iterator[str]:
    """Yield all texts and numbers of a value, and the names of its members."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)
