"""Texts of the page about pasted keys, and about tokens and documents of other systems, with where they belong."""

from collections.abc import Mapping
from typing import NamedTuple

from datafor_token.console.language import N_
from datafor_token.tokens.pasted import Kind


class About(NamedTuple):
    """A title, sentences, and a page that the text belongs to: the name of its view and the label of the link."""

    title: str
    text: str
    view: str = ""
    label: str = ""


_APPLICATIONS = "applications", N_("Open the applications")
ABOUT: Mapping[Kind, About] = {
    Kind.ENCRYPTED: About(
        N_("An encrypted token (JWE)"),
        N_(
            "Its five parts can be read only with the recipient's key. This service accepts signed tokens (JWS, three "
            "parts): configure the token issuer to sign without encrypting."
        ),
    ),
    Kind.PASETO: About(
        N_("A token in the format PASETO"),
        N_("This service accepts JSON Web Tokens only: configure the token issuer to create those."),
    ),
    Kind.SAML: About(
        N_("A SAML response"),
        N_(
            "This service does not support SAML. Let the identity provider issue signed JSON Web Tokens (OpenID "
            "Connect), and enter the URL of its keys on the Secret tab of the application."
        ),
        *_APPLICATIONS,
    ),
    Kind.KEY_SET: About(
        N_("A public key or a set of keys (JWKS)"),
        N_(
            "It verifies tokens, and is not one itself. Enter the set, or better its URL, as the key of the "
            "application whose tokens it verifies."
        ),
        *_APPLICATIONS,
    ),
    Kind.DISCOVERY: About(
        N_("The configuration of an identity provider"),
        N_("On the Secret tab of the application, enter its jwks_uri as key set URL and its issuer as issuer."),
        *_APPLICATIONS,
    ),
    Kind.PUBLIC_KEY: About(
        N_("A public key (PEM)"),
        N_(
            "It verifies tokens, and is not one itself. Enter it as the key of the application whose tokens it "
            "verifies."
        ),
        *_APPLICATIONS,
    ),
    Kind.CERTIFICATE: About(
        N_("A certificate (PEM)"),
        N_(
            "Applications have public keys, not certificates. Extract the key, and enter it as the key of the "
            "application: openssl x509 -pubkey -noout"
        ),
        *_APPLICATIONS,
    ),
    Kind.PRIVATE_KEY: About(
        N_("A private or secret key"),
        N_(
            "Anybody who has it can sign in as any user: it belongs to the token issuer alone, and was not stored "
            "here. If it was sent to you, replace it. The application needs only the public key, and the tab Issue "
            "needs a private key to sign one token."
        ),
        "issue_token",
        N_("Issue a token"),
    ),
    Kind.CLAIMS: About(
        N_("The content of a token without its signature"),
        N_("Nobody can tell who wrote it. Paste the token itself: three parts with dots between."),
    ),
    Kind.PASSWORD: About(
        N_("A user name and a password"),
        N_(
            "The header Authorization: Basic, or the option -u of curl, has no token. It was not stored here; if "
            "others have seen it, give the user a new password."
        ),
        "users",
        N_("Open the users"),
    ),
    Kind.URL: About(
        N_("A URL without a token"),
        N_(
            "It has no token, no one-time link and no parameter of an application. Copy the URL from where the link "
            "was created: after the sign-in, the browser no longer shows the token."
        ),
    ),
    Kind.OPAQUE: About(
        N_("A text that only its issuer can read"),
        N_(
            "It may be an opaque token or an API key of another system. This service accepts JSON Web Tokens: they "
            "begin with eyJ and have two dots."
        ),
    ),
    Kind.SESSION: About(
        N_("An unknown session cookie"),
        N_("The session has ended, or belongs to another service or host. The user can sign in again."),
    ),
    Kind.RANDOM: About(
        N_("An unknown one-time link or cookie"),
        N_(
            "It looks like one of this service. A link that was used is known for as long as the audit log has it, a "
            "session until it ends. It may be of another host."
        ),
    ),
    Kind.TICKET: About(
        N_("An unknown one-time link"),
        N_("It was created on another host, or before the oldest line of the audit log, or its end is missing."),
        "issue_token",
        N_("Create a new link"),
    ),
    Kind.FORMER_IDENTIFIER: About(
        N_("An identifier of an earlier version"),
        N_(
            "Versions before 0.3.0 wrote only 12 digits into the audit log: too few to find or revoke a token. Revoke "
            "all tokens of its user or application instead."
        ),
        *_APPLICATIONS,
    ),
}
NOTHING = N_(
    "Nothing here is known. Paste a token (it begins with eyJ), a link or header with a token, a one-time link, the "
    "reference of an error page, or the identifier of a token in the audit log (both have 32 digits)."
)
EMPTY = N_("Paste something first: a token, a link, or the reference of an error page.")
