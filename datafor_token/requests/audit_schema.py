"""Schema of ``token/audit``, and the rules of its filter."""

import re

from datafor_token.applications import rules
from datafor_token.audit.events import Kind
from datafor_token.errors import RuleError
from datafor_token.requests.explain_schema import request_id
from datafor_token.requests.fields import CallSchema, Integer, Text
from datafor_token.validation import names, times
from datafor_token.validation.addresses import parse, parse_network

LONGEST_SEARCH = 200  # characters
MOST_TOKENS = 8  # identifiers of one token, which has several after changes of the service's key


def event_kinds(text: str) -> str:
    """Return kinds of events, separated by commas, unchanged; refuse any other text."""
    if not set(text.split(",")) <= set(Kind):
        raise RuleError("must be one of %(values)s, or several separated by commas", values=", ".join(Kind))
    return text


def token_identifiers(text: str) -> str:
    """Return identifiers of tokens as the audit log shows them, or their first digits, separated by commas."""
    found = [one.strip().lower() for one in text.split(",")]
    if len(found) > MOST_TOKENS or not all(re.fullmatch("[0-9a-f]{12,32}", one) for one in found):
        raise RuleError("must be the hex digits that the audit log shows as target.token, at least the first 12")
    return ",".join(found)


def network(text: str) -> str:
    """Return an address of a client, or a network in CIDR notation, in the form that ``ipaddress`` writes."""
    address = parse(text.strip()) if "/" not in text else None
    try:
        return str(parse_network(text.strip() if address is None else str(address)))
    except RuleError:
        raise RuleError("must be an address such as 10.0.0.7, or a network such as 10.0.0.0/8") from None


def words(text: str) -> str:
    """Return the words of a search in the events."""
    found = text.strip()
    if not found:
        raise RuleError("can not be empty")
    if len(found) > LONGEST_SEARCH:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST_SEARCH)
    return found


class AuditSchema(CallSchema):
    """``token/audit``: a filter of events, and a page of the result."""

    since = Text(times.check_time, "Earliest time: a time (RFC 3339), a date, or an age such as 90m, 24h or 7d.")
    until = Text(times.check_time, "Time before which the events happened, in the same formats.")
    event = Text(event_kinds, "Kind of event, or several, separated by commas.")
    user = Text(names.user_name, "The user who acted, or whom the event is about.")
    application = Text(names.application_name, "The application that the event is about.")
    id = Text(
        token_identifiers, "Identifier of a token or one-time link, `target.token`, or its first 12 to 31 digits."
    )
    address = Text(network, "Address of the client, or a network such as 10.0.0.0/8.")
    request_id = Text(request_id, "The request: the reference on an error page, or `X-Request-ID` of the response.")
    q = Text(words, "Words that must all occur in the values of an event, regardless of case.")
    limit = Integer(rules.page_size, "Maximum number of events.", load_default=100)
    page = Text(description="The value of `next` in the previous response.")
