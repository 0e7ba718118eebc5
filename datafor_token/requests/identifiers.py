"""Rule for identifiers of tokens, as the audit log shows them."""

import re

from datafor_token.errors import RuleError


def audit_identifier(text: str) -> str:
    """Return the identifier of a token as the audit log shows it."""
    found = text.strip().lower()
    if re.fullmatch("[0-9a-f]{12}", found):
        raise RuleError(
            "has 12 of the 32 digits: give all of them; where an earlier version wrote the line, it has no more: send"
            " the token itself, or before with its user and application"
        )
    if not re.fullmatch("[0-9a-f]{32}", found):
        raise RuleError("must be the 32 hex digits that the audit log shows as target.token")
    return found
