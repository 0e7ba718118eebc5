"""Documents of identity providers: a JWK Set (RFC 7517), or a discovery document that names one.

See OpenID Connect Discovery 1.0 section 3 and RFC 8414.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.crypto.algorithms import ALGORITHMS, is_shared
from datafor_token.crypto.jwk import MOST_KEYS, has_private
from datafor_token.crypto.keys import usable_keys
from datafor_token.crypto.vetting import key_fault
from datafor_token.errors import RuleError
from datafor_token.printable import printable
from datafor_token.providers.client import Client, FetchError
from datafor_token.providers.records import JWK
from datafor_token.validation import strict_json, urls, utf8

MOST_MEMBERS = 100  # of a set; vetting an RSA key takes up to 5 ms
_LONGEST_ISSUER = 200  # characters that an error repeats
# The members of public keys (RFC 7517 section 4, RFC 7518 section 6). Certificates and private extensions are left out.
_MEMBERS = frozenset(("kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e"))
_SIGNING = tuple(algorithm for algorithm in ALGORITHMS if not is_shared(algorithm))


def fetch(client: Client, uri: str, issuer: str, known: Sequence[JWK] = ()) -> Sequence[JWK]:
    """Return the public keys at ``uri`` that verify tokens of some algorithm, as JWKs without certificates.

    ``uri`` is that of a JWK Set or of the discovery document of ``issuer``. ``known`` are keys that were accepted
    before, and are not vetted again. Raise ``FetchError`` for anything else, and for a set without a usable key.
    """
    url, document = _get(client, uri)
    if "keys" not in document and "jwks_uri" in document:
        _check_issuer(url, document, issuer)
        if not isinstance(document["jwks_uri"], str):
            raise FetchError(f"{url} is a discovery document whose jwks_uri is not a text")
        # One level only: the second document must be a JWK Set.
        url, document = _get(client, document["jwks_uri"], f"{url} is a discovery document whose jwks_uri")
    members = document.get("keys")
    if not isinstance(members, list):
        raise FetchError(f"{url} is no JWK Set, which has the member keys, and no discovery document with a jwks_uri")
    return _usable(url, members, known)


def _get(client: Client, uri: str, subject: str = "jwks_uri") -> tuple[urls.URL, Mapping[str, Any]]:
    try:
        url = urls.parse(uri, client.http_hosts)
    except RuleError as error:
        raise FetchError(f"{subject} {error}") from None
    body = client.get(url)
    try:
        document = strict_json.loads(utf8.decode(body))
    except RuleError as error:
        # The predicate repeats nothing of the body.
        raise FetchError(f"{url} responds with a text that {error}: is it the URL of a JWK Set?") from None
    if not isinstance(document, dict):
        raise FetchError(f"{url} responds with JSON that is not an object: is it the URL of a JWK Set?")
    return url, document


def _check_issuer(url: urls.URL, document: Mapping[str, Any], issuer: str) -> None:
    """Refuse the discovery document of another issuer, which would sign for this one (RFC 8414 section 3.3)."""
    found = document.get("issuer")
    if found == issuer:
        return
    is_short = isinstance(found, str) and 0 < len(found) <= _LONGEST_ISSUER
    named = f"the issuer {printable(str(found))}" if is_short else "another issuer"
    raise FetchError(
        f"{url} is the discovery document of {named}, and the tokens have another one: correct issuer, or enter the"
        " jwks_uri of that document"
    )


def _usable(url: urls.URL, members: Sequence[object], known: Sequence[JWK]) -> Sequence[JWK]:
    if len(members) > MOST_MEMBERS:
        raise FetchError(f"{url} is a JWK Set of more than {MOST_MEMBERS} keys")
    if has_private(members):
        # Everybody who has read it can sign.
        raise FetchError(f"{url} publishes a private or shared key: the provider must create new keys")
    keys = [
        {name: member[name] for name in member if name in _MEMBERS} for member in members if isinstance(member, dict)
    ]
    accepted = [key for key in keys if key in known or any(_is_usable(algorithm, key) for algorithm in _SIGNING)]
    if not accepted:
        raise FetchError(f"{url} is a JWK Set without a usable key that verifies signatures")
    if len(accepted) > MOST_KEYS:
        raise FetchError(f"{url} is a JWK Set of more than {MOST_KEYS} usable keys")
    return accepted


def _is_usable(algorithm: str, key: JWK) -> bool:
    return any(key_fault(found) is None for found, _ in usable_keys(algorithm, [key]))
