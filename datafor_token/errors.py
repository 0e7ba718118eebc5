"""Errors of the service, each with its HTTP status and its public message.

Domain code raises them, and only ``web.responses`` turns them into responses. A message is public: it never contains a
secret, a password, a token, or the text of another exception.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from datafor_token.printable import printable


class StartError(SystemExit):
    """The service cannot start. As a ``SystemExit``, it prints its faults, one per line, without a traceback."""

    def __init__(self, *faults: str) -> None:
        # Faults repeat names of settings and folders, which may contain control characters.
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("datafor_token cannot start:\n" + "\n".join(f"  - {fault}" for fault in self.faults))


class StoreNotReady(StartError):
    """The service cannot start because of its store. Commands exit with a code of their own for it."""


class Message(str):
    """A sentence that can be translated, since it carries its template and parameters.

    ``template`` is a format string (``must be at most %(number)s characters long``). Without parameters it is not
    formatted, so that ``%`` stands for itself. A parameter may be a message too.
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
    """Return a message about a field: its name, followed by a predicate ("must be ...")."""
    return Message("%(field)s %(predicate)s", field=field, predicate=Message(predicate))


def without_values(message: str) -> str:
    """Return a message with the name of each parameter in place of its value, which may come from a client."""
    if not isinstance(message, Message) or not message.parameters:
        return message
    return message.template % {
        name: without_values(value) if isinstance(value, Message) else f"<{name}>"
        for name, value in message.parameters.items()
    }


def predicate_of(message: str) -> str:
    """Return the predicate of a message that ``about`` created; any other message is returned unchanged."""
    predicate = message.parameters.get("predicate") if isinstance(message, Message) else None
    return predicate if isinstance(predicate, Message) else message


class RuleError(ValueError):
    """A value breaks a rule. ``message`` is a predicate ("must be ...") to follow the name of the field."""

    def __init__(self, template: str, /, **parameters: object) -> None:
        self.message = Message(template, **parameters)
        super().__init__(self.message)


class DataforTokenError(Exception):
    """500: base class of all errors that become an error response.

    - ``status``: the HTTP status.
    - ``message``: the public sentence, see ``Message``.
    - ``members``: further members of the response's JSON object.
    - ``retry_after``: the value of the ``Retry-After`` header in seconds, or None.
    - ``reason``, ``log_detail``: the cause in a word or sentence, and its circumstances; for the log only, never a
      secret.
    """

    status = 500
    message: str = "internal error"
    members: Mapping[str, object] = MappingProxyType({})
    retry_after: int | None = None

    def __init__(
        self,
        template: str | None = None,
        /,
        *,
        reason: str | None = None,
        log_detail: str | None = None,
        **parameters: object,
    ) -> None:
        if template is not None:
            self.message = Message(template, **parameters)
        elif parameters:
            raise TypeError(f"parameters without a template: {', '.join(parameters)}")
        self.reason, self.log_detail = reason, log_detail
        super().__init__(self.message)


class InvalidInput(DataforTokenError):
    """400: values of the request break rules. ``errors`` maps each field to its messages, in field order."""

    status = 400

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors: dict[str, list[str]] = {field: list(sentences) for field, sentences in errors.items()}
        self.members = {"errors": self.errors}
        super().__init__(next(iter(self.errors.values()))[0])

    @classmethod
    def of(cls, field: str, predicate: str, /, **parameters: object) -> "InvalidInput":
        """Return the error about one field. ``predicate`` is a template ("must be ...") to follow the field's name."""
        return cls({field: [about(field, Message(predicate, **parameters))]})


class MalformedRequest(DataforTokenError):
    """400: the request body is not a readable object, so no field can be named."""

    status = 400
    message = "the request body cannot be read"


class FileSent(MalformedRequest):
    """400: a part of a multipart body is a file. ``field`` is its name, which the message does not repeat."""

    message = "a field cannot be a file"

    def __init__(self, field: str = "") -> None:
        self.field = field
        super().__init__()


class NotAuthenticated(DataforTokenError):
    """401: the request has no credential, or the one it has is not valid."""

    status = 401
    message = "not logged in"


class WrongPassword(NotAuthenticated):
    """401: the user is unknown or disabled, or the password is wrong. The response does not tell which."""

    message = "wrong password"


class InvalidToken(NotAuthenticated):
    """401: the token is not accepted. Only the log and ``explain`` give the reason."""

    message = "invalid token"


class CookieNotSent(NotAuthenticated):
    """401: a browser that was just signed in did not send the cookie of the gate."""

    message = "the browser did not send the cookie back"


class Forbidden(DataforTokenError):
    """403: the caller may not do this."""

    status = 403
    message = "no permission"


class NotFound(DataforTokenError):
    """404: no record has this name."""

    status = 404
    message = "name does not exist"


class Conflict(DataforTokenError):
    """409: the request conflicts with what is stored, such as a name that is taken."""

    status = 409
    message = "the request conflicts with the stored record"


class RotationUndone(Conflict):
    """409: the secret is the previous one. Only ``rotate`` may make it the current one again."""


class LastAdministrator(Conflict):
    """409: no enabled Administrator would remain."""


class ChangedMeanwhile(Conflict):
    """409: the record has been changed since it was read."""


class BodyTooLarge(DataforTokenError):
    """413: the request body is larger than ``MAX_CONTENT_LENGTH``."""

    status = 413
    message = "the request body is too large (setting MAX_CONTENT_LENGTH)"


class UnsupportedMediaType(DataforTokenError):
    """415: the content type of the request body is not supported."""

    status = 415
    message = (
        "the content type must be application/x-www-form-urlencoded, application/json or multipart/form-data, in UTF-8"
    )


class TooManyAttempts(DataforTokenError):
    """429: too many failed passwords for a user name, or from an address. The password was not checked."""

    status = 429
    message = "too many failed passwords: try again later"

    def __init__(self, seconds: int = 1) -> None:
        super().__init__()
        self.retry_after = seconds


class TooManyTokens(DataforTokenError):
    """429: the application has issued as many tokens as its ``rate`` allows. Nothing was issued."""

    status = 429
    message = "too many tokens"

    def __init__(self, message: Message | None = None, seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after = seconds


class Overloaded(DataforTokenError):
    """503: too many passwords are being checked, or another long computation has not ended."""

    status = 503
    message = "too many sign-ins at once"
    retry_after = 1


class JustRevoked(DataforTokenError):
    """503: the user's tokens of this second were revoked, so that a new one would be refused."""

    status = 503
    message = "the tokens of this second were revoked: try again in a second"

    def __init__(self, seconds: int = 1) -> None:
        super().__init__()
        self.retry_after = seconds


class MetricsUnavailable(DataforTokenError):
    """503: the counters of the workers cannot be read. Other calls are not affected."""

    status = 503
    message = "metrics are unavailable"


class Drained(DataforTokenError):
    """503: this node serves every call, but load balancers must send it no more. Only for ``/readyz``."""

    status = 503
    message = "this node is draining: send requests to another one"
    members = MappingProxyType({"draining": True})


class StoreUnavailable(DataforTokenError):
    """503: the store cannot be read or written. Unless it is ``MaybeStored``, nothing was stored."""

    status = 503
    message = "storage is unavailable"


class LockTimeout(StoreUnavailable):
    """503: another writer held the lock for longer than ``LOCK_TIMEOUT``. Nothing was stored."""


class AuditUnavailable(StoreUnavailable):
    """503: the change cannot be recorded in the audit log. Nothing was stored."""

    message = "storage is unavailable: the audit log cannot be written"


class RecordDamaged(StoreUnavailable):
    """503: a record exists but is not valid. It is left unchanged."""


class KeyMissing(RecordDamaged):
    """503: a record is encrypted with a key that this node does not have, although another node may have it."""


class MaybeStored(StoreUnavailable):
    """503: the write failed at a point where the change may already be stored."""

    message = "storage is unavailable: the change may or may not have been stored"
