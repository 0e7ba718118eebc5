"""Summaries of an application's trust policy and limits for the pages that show an application."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.console.language import format_duration, format_list, gettext, ngettext

_LONGEST = 60  # characters of a value; the form has all of it


def trust_summary(application: Application) -> Sequence[str]:
    """Return a short phrase about each rule of the policy that is set, in the order of the form."""
    return [*_rules_of_issuer_and_audience(application), *_other_rules(application)]


def _rules_of_issuer_and_audience(one: Application) -> Iterator[str]:
    if one.jwks_uri:
        yield gettext("keys from %(host)s") % {"host": _short(str(urlsplit(one.jwks_uri).hostname))}
    if one.issuer:
        yield gettext("issuer %(issuer)s") % {"issuer": _short(one.issuer)}
    if one.audience and policy.ANY in one.audience:
        yield gettext("any audience")
    elif one.audience:
        yield gettext("audience %(audience)s") % {"audience": _short(format_list(one.audience))}


def _other_rules(one: Application) -> Iterator[str]:
    if one.token_types:
        yield gettext("token types %(types)s") % {"types": _short(format_list(one.token_types))}
    if one.max_lifetime:
        yield gettext("at most %(duration)s") % {"duration": format_duration(one.max_lifetime)}
    if one.require:
        count = len(one.require)
        yield ngettext("%(num)s required claim", "%(num)s required claims", count) % {"num": count}
    if one.networks:
        count = len(one.networks)
        yield ngettext("%(num)s network", "%(num)s networks", count) % {"num": count}
    if one.users == policy.OWN:
        yield gettext("own users only")
    if one.report:
        count = len(one.report)
        yield ngettext("%(num)s rule only reported", "%(num)s rules only reported", count) % {"num": count}
    if one.sync:
        yield gettext("users follow the token")


def limits_summary(application: Application) -> Sequence[str]:
    """Return a short phrase about each field about the gate and limits that is set, in the order of the form."""
    return [*_limits(application)]


def _limits(one: Application) -> Iterator[str]:
    if one.origins:
        yield gettext("may be embedded by %(origins)s") % {"origins": _short(format_list(one.origins))}
    if one.session_idle:
        yield gettext("sessions idle for at most %(duration)s") % {"duration": format_duration(one.session_idle)}
    if one.session_max:
        yield gettext("sessions of at most %(duration)s") % {"duration": format_duration(one.session_max)}
    if one.rate:
        yield gettext("rate limit %(rate)s") % {"rate": one.rate}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
