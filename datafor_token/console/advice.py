"""Names of the steps of ``token/explain``, and advice for each reason why a token or a request is refused."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from datafor_token.console import pages
from datafor_token.console.language import N_, gettext
from datafor_token.tokens.refusals import PastRefusal

STEPS = {
    "read": N_("Format"),
    "header": N_("Header"),
    "keys": N_("Keys of the identity provider"),
    "algorithm": N_("Algorithm"),
    "signature": N_("Signature"),
    "time": N_("Validity period"),
    "audience": N_("Audience"),
    "issuer": N_("Issuer"),
    "claims": N_("Required claims"),
    "lifetime": N_("Maximum lifetime"),
    "username": N_("User name"),
    "revocation": N_("Revocation"),
    "application": N_("Application"),
    "network": N_("Networks"),
    "user": N_("User"),
    "administrator": N_("Administrator sign-in"),
    "sync": N_("Changes of the user"),
    "damaged": N_("Unreadable records"),
    # Only of requests that were refused.
    "ticket": N_("One-time link"),
    "password": N_("Password"),
    "throttling": N_("Limit of sign-ins"),
    "requirement": N_("Requirement of the proxy"),
    "details": N_("Details"),
}
# By the reason that the API returns.
ADVICE = {
    "malformed": N_(
        "Copy the complete token again and nothing else: three parts separated by dots, without quotes, line breaks or "
        "a word before it. A token in a URL may have been truncated or encoded twice."
    ),
    "header": N_(
        "Configure the token issuer to create a signed token with typ and alg, without crit, b64, enc or zip. If only "
        "the typ differs, add it to the accepted token types of the application."
    ),
    "algorithm": N_(
        "Configure the token issuer to sign with the algorithm of the application, or change the application's "
        "algorithm."
    ),
    "signature": N_(
        "Compare the token issuer's secret with the application's, to the last character and without a line break "
        "after it. If the secret is lost, rotate it: the old one remains valid for the grace period."
    ),
    "no_expiry": N_("Configure the token issuer to set exp: the expiry time in whole seconds since 1970."),
    "expired": N_(
        "Generate a new token. If this one is new, compare the two clocks; the setting LEEWAY is the tolerated "
        "difference."
    ),
    "not_yet_valid": N_("Compare the token issuer's clock with this server's, and correct the wrong one."),
    "invalid_time": N_(
        "Configure the token issuer to write exp, nbf and iat as JSON numbers of seconds, not as text or milliseconds."
    ),
    "audience": N_(
        "If the token is meant for this application, add its aud to the audience of the application. Otherwise get a "
        "token that is meant for it."
    ),
    "issuer": N_(
        "Compare iss with the issuer of the application, to the last character, including a slash at the end."
    ),
    "claim": N_(
        "Configure the token issuer to send the claim named above, or change the required claims. A claim inside "
        "another one is named by a JSON Pointer, such as /realm_access/roles."
    ),
    "too_long_lived": N_(
        "Configure the token issuer to set iat and a shorter lifetime, or change the maximum lifetime of the "
        "application."
    ),
    "network": N_("Send the token from an accepted network, or add the sender's network to the application."),
    "keys_unavailable": N_("Check the key set URL of the application: its Secret tab has the error of the last fetch."),
    "no_username": N_(
        "Configure the token issuer to put the user name into the claim named above, or change the user name claim of "
        "the application."
    ),
    "invalid_username": N_("Configure the token issuer to send a user name that follows the rule named above."),
    "revoked": N_("The token was revoked on purpose: generate a new one."),
    "disabled_application": N_("Enable the application to accept its tokens."),
    "unknown_user": N_("Add the user, or set the application to create unknown users."),
    "not_own_user": N_("Assign the user to the application, or let the application accept all users."),
    "disabled_user": N_("Enable the user to let them sign in."),
    "administrator_refused": N_(
        "Let the Administrator sign in with a password. Tokens sign in an Administrator only with "
        "TOKENS_MAY_ADMINISTER = true, and only if the secret of their application is strong."
    ),
    "several_tokens": N_("Leave only one token in the URL: the link may have been built twice."),
    "ticket": N_("Create a new link. A one-time link works once, and a mail program may have opened it before."),
    "wrong_password": N_("Ask the user to type the password again, or reset it on the page of the user."),
    "throttled": N_("Wait for five minutes. If it happens again, somebody may be guessing passwords: see the address."),
    "overloaded": N_("Ask the user to try again. If it happens often, the server needs more processors."),
    "requirement": N_(
        "Give the user what the check requires, or change the requirement in the configuration of the proxy."
    ),
    "unknown_requirement": N_(
        "Correct the URL of the check in the configuration of the proxy. It must not pass on the query of the visitor."
    ),
}
_ADVICE_ON_PASSWORDS = {
    "malformed": N_(
        "Correct the program that sent the request: the header needs the Base64 of name:password in UTF-8."
    ),
    "unknown_user": N_("Ask for the user name: the page Users has all names."),
}


def advice_for(refusal: PastRefusal) -> str | None:
    """Return the advice for a request that was refused, if there is any."""
    reason = refusal.reason or ""
    return (_ADVICE_ON_PASSWORDS.get(reason) if refusal.by_password else None) or ADVICE.get(reason)


class Fix(NamedTuple):
    """A link to the page where the cause of a refusal can be removed."""

    path: str
    text: str


# Tabs of an application's page, with the field to change, and other pages, by the reason. What is missing has no page.
_FIXES: Mapping[str, Sequence[str]] = {
    "header": ("trust#token_types",),
    "algorithm": ("secret",),
    "signature": ("secret",),
    "expired": ("issue",),
    "audience": ("trust#audience",),
    "issuer": ("trust#issuer",),
    "claim": ("trust#require",),
    "too_long_lived": ("trust#max_lifetime",),
    "network": ("trust#networks",),
    "keys_unavailable": ("secret",),
    "no_username": ("settings#fieldmap.username",),
    "revoked": ("issue",),
    "disabled_application": ("application",),
    "unknown_user": ("new_user", "settings#inituser"),
    "not_own_user": ("user#application", "trust#users"),
    "disabled_user": ("user",),
    "administrator_refused": ("secret", "service"),
    "ticket": ("issue",),
    "wrong_password": ("user",),
    "throttled": ("user",),
    "requirement": ("user",),
}


def fixes_for(reason: str | None, application: str | None, user: str | None) -> Sequence[Fix]:
    """Return links to the pages that remove the cause of a refusal.

    ``user`` is the name of a user who exists, None if no such user is known.
    """
    found = []
    for one in _FIXES.get(reason or "", ()):
        place, _, field = one.partition("#")
        if place == "new_user":
            found.append(Fix(pages.link_to("new_user"), gettext("New user")))
        elif place == "service":
            found.append(Fix(pages.link_to("settings"), gettext("Settings of the service")))
        elif place == "issue":
            named = {name: value for name, value in (("name", application), ("username", user)) if value}
            found.append(Fix(pages.link_to("issue_token", **named), gettext("Issue a new token")))
        elif place == "user" and user is not None:
            text = gettext("Open the user %(name)s") % {"name": user}
            found.append(Fix(pages.link_to("user", name=user, _anchor=field or None), text))
        elif place in _TABS and application is not None:
            view, text = _TABS[place]
            path = pages.link_to(view, name=application, _anchor=field or None)
            found.append(Fix(path, gettext(text) % {"name": application}))
    return found


_TABS: Mapping[str, tuple[str, str]] = {
    "application": ("application", N_("Open %(name)s")),
    "trust": ("application_trust", N_("Open the Trust tab of %(name)s")),
    "settings": ("application_settings", N_("Open the Settings tab of %(name)s")),
    "secret": ("application_secret", N_("Open the Secret tab of %(name)s")),
}
