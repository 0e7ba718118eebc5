"""The errors of this service: what went wrong, as which HTTP status, in which public words.

The bottom of the import ladder: nothing of ours but ``printable`` is imported here. Domain code raises these;
``responses`` alone turns them into answers. A message is a sentence that anyone may read: it
never holds a secret, a password, a token, or the text of another exception.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from datafor_token.printable import printable


class StartError(SystemExit):
    """The service cannot start; being a ``SystemExit``, its faults are printed, one a line, without a traceback."""

    def __init__(self, *faults: str) -> None:
        # They repeat names of settings and folders, which may hold control characters.
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("datafor_token cannot start:\n" + "\n".join(f"  - {fault}" for fault in self.faults))


class StoreNotReady(StartError):
    """It cannot start because of its store, which scripts tell apart by the exit code."""


class Message(str):
    """A sentence with the template and the parameters that it was made of, so that it can be translated.

    ``template`` has a name in brackets where a parameter is filled in (``must be at most %(number)s characters long``);
    a parameter may be a message itself. Without parameters, ``template`` is the sentence.
    """

    template: str
    parameters: Mapping[str, object]

    def __new__(cls, template: str, /, **parameters: object) -> "Message":  # noqa: D102 - see the class
        if isinstance(template, cls) and not parameters:
            return template
        message = super().__new__(cls, template % parameters if parameters else template)
        message.template, message.parameters = template, parameters
        return message


def about(field: str, predicate: str) -> Message:
    """Return the message that is the name of a field and what is wrong with its value."""
    return Message("%(field)s %(predicate)s", field=field, predicate=predicate)


class RuleError(ValueError):
    """A value breaks a rule. ``message`` is a predicate ("must be ...") that follows the name of the field."""

    def __init__(self, template: str, /, **parameters: object) -> None:
        self.message = Message(template, **parameters)
        super().__init__(self.message)


class DataforTokenError(Exception):
    """An answer that is no success.

    ``status`` is the HTTP status, ``message`` the public sentence (see ``Message``), ``members`` what the response has
    beside it, ``reason`` what only the log may know (never a secret), ``retry_after`` seconds after which trying again
    makes sense.
    """

    status = 500
    message: str = "internal error"
    members: Mapping[str, object] = MappingProxyType({})
    retry_after: int | None = None

    def __init__(self, template: str | None = None, /, *, reason: str | None = None, **parameters: object) -> None:
        if template is not None:
            self.message = Message(template, **parameters)
        self.reason = reason
        super().__init__(self.message)


class InvalidInput(DataforTokenError):
    """400: the request breaks rules. ``errors`` maps each field to its sentences, in field order."""

    status = 400

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors: dict[str, list[str]] = {field: list(sentences) for field, sentences in errors.items()}
        self.members = {"errors": self.errors}
        super().__init__(next(iter(self.errors.values()))[0])

    @classmethod
    def of(cls, field: str, predicate: str, /, **parameters: object) -> "InvalidInput":
        """Return the error of one field: its message is the name of the field and ``predicate``."""
        return cls({field: [about(field, Message(predicate, **parameters))]})


class MalformedRequest(DataforTokenError):
    """400: the body cannot be read as an object at all, so that no field is to blame."""

    status = 400
    message = "the request body cannot be read"


class FileSent(MalformedRequest):
    """400: a part of a multipart body is a file. ``field`` is its name, which is known only where it is a field's."""

    def __init__(self, field: str = "") -> None:
        self.field = field
        super().__init__("a field cannot be a file")


class NotAuthenticated(DataforTokenError):
    """401: no credential, or one that is wrong. The message is one of the contract's three."""

    status = 401
    message = "not logged in"


class WrongPassword(NotAuthenticated):
    """401: unknown user, wrong password, disabled user, or a credential that cannot be read: one answer for all."""

    message = "wrong password"


class InvalidToken(NotAuthenticated):
    """401: a token is there and not accepted. Why, only the log and ``explain`` say."""

    message = "invalid token"


class Forbidden(DataforTokenError):
    """403: the caller is known, or does not matter, and may not do this."""

    status = 403
    message = "no permission"


class NotFound(DataforTokenError):
    """404: there is no record of that name."""

    status = 404
    message = "name does not exist"


class Conflict(DataforTokenError):
    """409: the record is there, under a name that differs by case or spelling only."""

    status = 409


class RotationUndone(Conflict):
    """409: the secret is the one before the last rotation, which only another rotation may bring back."""


class BodyTooLarge(DataforTokenError):
    """413: the body is larger than ``MAX_CONTENT_LENGTH``."""

    status = 413
    message = "the request body is too large (setting MAX_CONTENT_LENGTH)"


class UnsupportedMediaType(DataforTokenError):
    """415: the body's type is none of those that the contract names in its section 2."""

    status = 415
    message = (
        "the content type must be application/x-www-form-urlencoded, application/json or multipart/form-data, in UTF-8"
    )


class TooManyAttempts(DataforTokenError):
    """429: too many failed passwords for this user name from this address; no hash was computed."""

    status = 429
    message = "too many failed passwords: try again later"

    def __init__(self, seconds: int = 1) -> None:
        super().__init__()
        self.retry_after = seconds


class Overloaded(DataforTokenError):
    """503: too many passwords are being checked at this moment."""

    status = 503
    message = "too many sign-ins at once"
    retry_after = 1


class MetricsUnavailable(DataforTokenError):
    """503: what the workers count cannot be read; all other calls go on."""

    status = 503
    message = "metrics are unavailable"


class StoreUnavailable(DataforTokenError):
    """503: the store cannot be read or written; nothing was stored."""

    status = 503
    message = "storage is unavailable"


class LockTimeout(StoreUnavailable):
    """503: another process held the store's lock for longer than ``LOCK_TIMEOUT``; nothing was stored."""


class AuditUnavailable(StoreUnavailable):
    """503: what was to be changed cannot be recorded in the audit log; nothing was stored."""

    message = "storage is unavailable: the audit log cannot be written"


class RecordDamaged(StoreUnavailable):
    """503: a record is there but cannot be read as what it should be. It is left untouched."""


class MaybeStored(StoreUnavailable):
    """503: the failure came after the record was renamed into place, so that its fate is not known."""

    message = "storage is unavailable: the change may or may not have been stored"
