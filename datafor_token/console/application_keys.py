"""State of an application's secret or keys, and the warnings about an application, for its pages."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.console import application_form
from datafor_token.console.language import gettext, sentence, translated
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.damaged_secrets import warnings_about
from datafor_token.crypto.strength import weakness
from datafor_token.printable import printable
from datafor_token.web.services import services


class PublicKey(NamedTuple):
    """A public key: its identifier, which a provider may have chosen, and its thumbprint (RFC 7638)."""

    kid: str
    thumbprint: str


class Warned(NamedTuple):
    """A warning in the reader's language, and the view of the tab that fixes it, with the text of the link."""

    text: str
    view: str
    link: str


def state(found: Application) -> dict[str, Any]:
    """Return the values of the template about the secret or keys; ``provider`` is the state of a provider's keys."""
    now = services().clock()
    response = found.to_response(now)
    # Keys of a file or of a provider: the order of both is that of the set.
    kids = response["keys"]["kids"] if "keys" in response else [key.kid for key in found.key.all()]
    thumbprints = [key.kid for key in found.key.all()]
    shared = is_shared(found.algorithm)
    return {
        "public_keys": []
        if shared
        else [
            PublicKey(printable(str(kid)), str(thumbprints[number]) if number < len(thumbprints) else "")
            for number, kid in enumerate(kids)
        ],
        "provider": response["keys"] if found.jwks_uri and "keys" in response else None,
        "secret_bytes": len(found.secret.encode()) if shared else 0,
        "weak": weakness(found.algorithm, found.secret),
        "previous": found.previous if found.previous_secret(now) is not None else None,
        "rotated": found.previous.rotated if found.previous else None,
    }


def warnings(found: Application) -> Iterator[Warned]:
    """Yield what should be fixed, in the order of its weight."""
    to_secret, to_trust, to_settings = (
        ("application_secret", gettext("Open Secret")),
        ("application_trust", gettext("Open Trust")),
        ("application_settings", gettext("Open Settings")),
    )
    weak = weakness(found.algorithm, found.secret)
    if weak is not None:
        text = gettext(
            "%(message)s. Anyone who guesses it can sign in as any user. Its tokens never sign in an Administrator."
        )
        yield Warned(text % {"message": sentence(weak)}, "ask_rotate", gettext("Rotate the secret"))
    for one in warnings_about(found.algorithm, found.secret):
        yield Warned(sentence(one), "ask_rotate", gettext("Rotate the secret"))
    keys = found.to_response(services().clock()).get("keys", {})
    if keys.get("error"):
        text = gettext("The last fetch failed: %(error)s") % {"error": translated(keys["error"])}
        yield Warned(text, *to_secret)
    for message in policy.warnings_about(found, services().settings):
        yield Warned(sentence(message), *(to_secret if message.template.startswith("jwks_uri") else to_trust))
    short = services().registry.short_password(found)
    if short is not None:
        yield Warned(sentence(short), *to_settings)
    for field, violation in found.rule_violations.items():
        outer = field.partition(".")[0]
        if outer != "secret":
            yield Warned(sentence(violation), *(to_settings if outer in application_form.SETTINGS else to_trust))
        elif weak is None:
            yield Warned(sentence(violation), "ask_rotate", gettext("Rotate the secret"))
