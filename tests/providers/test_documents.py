"""Documents of identity providers: JWK Sets and discovery documents, also in the shapes of real ones."""

import json
from typing import Any

import pytest

from datafor_token.providers.client import Client, FetchError
from datafor_token.providers.documents import MOST_MEMBERS, fetch
from tests.providers.conftest import Names
from tests.providers.idp import HOST, Provider, jwk, jwk_set, response, running

ISSUER = "https://idp.example/realm"
CERTIFICATE = ["MIIC" + "A" * 1000]


def kids(client: Client, provider: Provider, path: str = "/jwks", issuer: str = ISSUER) -> list[str | None]:
    return [key.get("kid") for key in fetch(client, provider.url(path), issuer)]


def fault(client: Client, provider: Provider, page: bytes, path: str = "/jwks") -> str:
    """Return the error of a document, which never repeats its secret."""
    provider.pages[path] = page
    with pytest.raises(FetchError) as caught:
        fetch(client, provider.url(path), ISSUER)
    assert "secret" not in str(caught.value)
    return str(caught.value)


class TestSets:
    """A JWK Set."""

    def test_members(self, client: Client, provider: Provider) -> None:
        """Of a key only the public members are stored, without certificates and unknown ones."""
        provider.pages["/jwks"] = jwk_set(jwk("rsa", "a", alg="RS256", use="sig", x5c=CERTIFICATE, x5t="x", other=1))
        (key,) = fetch(client, provider.url(), ISSUER)
        assert key.keys() == {"kty", "n", "e", "kid", "alg", "use"}

    @pytest.mark.parametrize(
        "key",
        [
            jwk("rsa", "b", use="enc"),
            jwk("rsa", "b", alg="RSA-OAEP"),
            jwk("rsa", "b", key_ops=["encrypt"]),
            {"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "kid": "b", "n": "AQAB", "e": 3},
            {"kty": "EC", "kid": "b", "crv": "secp256k1", "x": "AA", "y": "AA"},
            {"kty": "EC", "kid": "b", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
            {"kty": "OKP", "kid": "b", "crv": "Ed25519", "x": "A" * 43},
            {"kty": "new", "kid": "b"},
            {"kid": "b"},
            {},
            [],
            "b",
            None,
        ],
    )
    def test_ignored_keys(self, client: Client, provider: Provider, key: Any) -> None:
        """Keys of another use, of unknown kinds, broken ones and junk are left out, and the others are used."""
        provider.pages["/jwks"] = jwk_set(key, jwk("ES256", "a"))
        assert kids(client, provider) == ["a"]
        assert "usable key" in fault(client, provider, jwk_set(key))

    @pytest.mark.parametrize(
        "key",
        [
            {**jwk("rsa", "b"), "d": "secret"},
            {**jwk("ES256", "b"), "d": "secret"},
            {"kty": "oct", "k": "secret"},
            {**jwk("rsa", "b"), "use": "enc", "p": "secret"},
        ],
    )
    def test_private_keys(self, client: Client, provider: Provider, key: Any) -> None:
        """A set with a private or shared key is refused as a whole."""
        assert "private or shared key" in fault(client, provider, jwk_set(jwk("ES256", "a"), key))

    def test_a_kid_that_two_keys_have(self, client: Client, provider: Provider) -> None:
        """Two keys may have the same kid."""
        provider.pages["/jwks"] = jwk_set(jwk("rsa", "a"), jwk("ES256", "a"))
        assert kids(client, provider) == ["a", "a"]

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"<html>secret</html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b'{"keys": "secret"}',
            b'{"keys": [], "keys": []}', b'{"keys": [NaN]}', b"\xff\xfe{\x00}\x00", b'{"keys": ["\xff"]}',
            b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"keys": [' + b"9" * 100_000 + b"]}",
            b'{"keys": ["\\ud800"]}', b'"secret"', b"{'keys': []}",
        ],
    )  # fmt: skip
    def test_no_set(self, client: Client, provider: Provider, text: bytes) -> None:
        """A text that is no strict JSON, or no JWK Set, is an error that names the URL."""
        assert fault(client, provider, response(text)).startswith(provider.url())

    def test_many_keys(self, client: Client, provider: Provider) -> None:
        """The number of keys is limited."""
        assert "more than 100" in fault(client, provider, jwk_set(*[{}] * (MOST_MEMBERS + 1)))
        many = [jwk("ES256", str(number)) for number in range(33)]
        assert "more than 32" in fault(client, provider, jwk_set(*many))
        provider.pages["/jwks"] = jwk_set(*many[:32], *[jwk("rsa", use="enc")] * 60)
        assert len(kids(client, provider)) == 32

    def test_a_byte_order_mark(self, client: Client, provider: Provider) -> None:
        """A byte order mark before the document is skipped."""
        provider.pages["/jwks"] = response(b"\xef\xbb\xbf" + json.dumps({"keys": [jwk("ES256", "a")]}).encode())
        assert kids(client, provider) == ["a"]


class TestDiscovery:
    """A discovery document names the set."""

    def discovery(self, provider: Provider, **changes: Any) -> bytes:
        return response({"issuer": ISSUER, "jwks_uri": provider.url("/set"), **changes})

    def test_a_document(self, client: Client, provider: Provider) -> None:
        """The set at its jwks_uri is fetched."""
        provider.pages["/jwks"] = self.discovery(provider)
        provider.pages["/set"] = jwk_set(jwk("ES256", "a"))
        assert kids(client, provider) == ["a"]

    @pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), "", None, 1, "x" * 10_000, "https://a\r\nb"])
    def test_another_issuer(self, client: Client, provider: Provider, issuer: Any) -> None:
        """The document of another issuer is refused, whatever it names, and the set is not fetched."""
        found = fault(client, provider, self.discovery(provider, issuer=issuer))
        assert "another" in found
        assert len(found) < 500
        assert found.isprintable()
        assert len(provider.seen) == 1

    @pytest.mark.parametrize(
        "uri",
        [
            "file:///etc/passwd", "http://idp.example/set", "https://user:secret@idp.example/set", "/set", "", 7, None,
            "https://169.254.169.254/latest", "http://169.254.169.254/latest", "https://meta.example/latest",
        ],
    )  # fmt: skip
    def test_its_url(self, client: Client, provider: Provider, names: Names, uri: Any) -> None:
        """The jwks_uri of the document obeys the same rules as that of an application."""
        names["meta.example"] = ["169.254.169.254"]
        found = fault(client, provider, self.discovery(provider, jwks_uri=uri))
        assert "jwks_uri" in found or "never connected to" in found
        assert len(provider.seen) == 1

    def test_one_level(self, client: Client, provider: Provider) -> None:
        """A discovery document that names another one is refused."""
        provider.pages["/set"] = self.discovery(provider)
        assert "JWK Set" in fault(client, provider, self.discovery(provider))
        assert len(provider.seen) == 2

    def test_a_redirect_of_the_set(self, client: Client, provider: Provider) -> None:
        """The error names the URL that redirects."""
        provider.pages["/set"] = response(b"", "302 Found", Location="/elsewhere")
        assert fault(client, provider, self.discovery(provider)).startswith(f"{provider.url('/set')} redirects")


class TestShapes:
    """The documents of real providers, from their public documentation."""

    def test_keycloak(self, client: Client, provider: Provider) -> None:
        """Keycloak: a realm's document, and an encryption key beside the key for signatures."""
        realm = "https://idp.example/realms/shop"
        provider.pages["/realms/shop/.well-known/openid-configuration"] = response(
            {
                "issuer": realm,
                "authorization_endpoint": f"{realm}/protocol/openid-connect/auth",
                "token_endpoint": f"{realm}/protocol/openid-connect/token",
                "jwks_uri": provider.url("/realms/shop/protocol/openid-connect/certs"),
                "id_token_signing_alg_values_supported": ["PS384", "RS384", "EdDSA", "ES384", "HS256", "RS256"],
                "mtls_endpoint_aliases": {"token_endpoint": f"{realm}/protocol/openid-connect/token"},
            }
        )
        certificate = {"x5c": CERTIFICATE, "x5t": "3Uz", "x5t#S256": "0h4"}
        provider.pages["/realms/shop/protocol/openid-connect/certs"] = jwk_set(
            jwk("rsa-other", "1t3yQo", alg="RSA-OAEP", use="enc", **certificate),
            jwk("rsa", "FJ86Gc", alg="RS256", use="sig", **certificate),
        )
        assert kids(client, provider, "/realms/shop/.well-known/openid-configuration", realm) == ["FJ86Gc"]

    def test_entra_id(self, client: Client, provider: Provider) -> None:
        """Entra ID: keys without alg, each with its certificate; the issuer of version 2 ends with v2.0."""
        tenant = "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0"
        path = "/8eaef023/v2.0/.well-known/openid-configuration"
        provider.pages[path] = response(
            {"issuer": tenant, "jwks_uri": provider.url("/discovery/v2.0/keys"), "tenant_region_scope": "EU"}
        )
        provider.pages["/discovery/v2.0/keys"] = jwk_set(
            *(
                jwk(
                    kind, f"kid-{n}", use="sig", x5t=f"kid-{n}", x5c=CERTIFICATE, cloud_instance_name="m", issuer=tenant
                )
                for n, kind in enumerate(["rsa", "rsa-other", "rsa", "rsa-other", "rsa", "rsa-other"])
            )
        )
        assert kids(client, provider, path, tenant) == [f"kid-{n}" for n in range(6)]
        common = "/common/v2.0/.well-known/openid-configuration"
        provider.pages[common] = response(
            {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "jwks_uri": provider.url("/keys")}
        )
        assert "{tenantid}" in fault(client, provider, provider.pages[common], common)  # type: ignore[arg-type]

    def test_ad_fs(self, client: Client, provider: Provider) -> None:
        """AD FS: access tokens have the issuer access_token_issuer, for which the set itself is entered."""
        services = "http://idp.example/adfs/services/trust"
        path = "/adfs/.well-known/openid-configuration"
        provider.pages[path] = response(
            {
                "issuer": "https://idp.example/adfs",
                "access_token_issuer": services,
                "jwks_uri": provider.url("/adfs/discovery/keys"),
            }
        )
        provider.pages["/adfs/discovery/keys"] = jwk_set(
            jwk("rsa", "SDjg", use="sig", alg="RS256", x5t="SDjg", x5c=CERTIFICATE)
        )
        assert kids(client, provider, path, "https://idp.example/adfs") == ["SDjg"]
        with pytest.raises(FetchError, match="enter the jwks_uri of that document"):
            kids(client, provider, path, services)
        assert kids(client, provider, "/adfs/discovery/keys", services) == ["SDjg"]

    def test_authelia(self, client: Client) -> None:
        """Authelia: keys of several types in one set, on plain http in the same container network."""
        with running() as plain:
            plain.pages["/jwks.json"] = jwk_set(
                jwk("rsa", "main-rs256", use="sig", alg="RS256"), jwk("ES256", "main-es256", use="sig", alg="ES256")
            )
            plain.pages["/.well-known/openid-configuration"] = response(
                {"issuer": "http://http.example", "jwks_uri": plain.url("/jwks.json", "http.example")}
            )
            with pytest.raises(FetchError, match="https"):
                fetch(client, plain.url("/.well-known/openid-configuration", HOST), "http://http.example")
            found = fetch(client, plain.url("/.well-known/openid-configuration", "127.0.0.1"), "http://http.example")
        assert [key["kid"] for key in found] == ["main-rs256", "main-es256"]
