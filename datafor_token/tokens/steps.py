"""Steps of a verification that compare a token with several applications, and their sentences."""

from collections.abc import Iterable, Sequence

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.signing import Signer
from datafor_token.errors import Message
from datafor_token.printable import printable
from datafor_token.providers.key_sets import ProviderKeys, Status
from datafor_token.tokens.verifier import Step, Token, failed, fitting, passed
from datafor_token.validation import times


def listed(texts: Sequence[str]) -> str:
    """Return the first five of any number of texts, and how many more there are."""
    first = ", ".join(texts[:5])
    return first if len(texts) <= 5 else Message("%(names)s, and %(number)s more", names=first, number=len(texts) - 5)


def signed_by(application: Application, signer: Signer) -> list[Step]:
    """Return the steps of a token that ``signer``, a key of the application, signed."""
    name, algorithm = application.name, application.algorithm

    def signed() -> Message:
        if not signer.is_previous:
            if signer.name == application.secret:
                return Message("signed with the secret of %(name)s", name=name)
            return Message("signed with the key %(kid)s of %(name)s", kid=signer.name, name=name)
        return Message("signed with the previous secret of %(name)s, which is in its grace period", name=name)

    expected = passed("algorithm", lambda: Message("%(name)s expects %(algorithm)s", name=name, algorithm=algorithm))
    return [expected, passed("signature", signed)]


def unexpected_algorithm(algorithm: str, entries: Sequence[IndexEntry], hint: Message | None) -> Step:
    """Return the step of a token whose algorithm none of these applications expects."""

    def detail() -> Message:
        expected = _expectations(entries)
        sentence = Message("%(expected)s, the token says %(algorithm)s", expected=expected, algorithm=algorithm)
        return sentence if hint is None else Message("%(first)s; %(second)s", first=sentence, second=hint)

    return failed("algorithm", detail)


def _expectations(entries: Sequence[IndexEntry]) -> Message:
    found = Message("no application exists")
    for number, one in enumerate(entries[:5]):
        expects = Message("%(name)s expects %(algorithm)s", name=one.name, algorithm=one.algorithm)
        found = Message("%(first)s; %(second)s", first=found, second=expects) if number else expects
    if len(entries) > 5:
        found = Message("%(names)s; and %(number)s more", names=found, number=len(entries) - 5)
    return found


def provided_keys(token: Token, entries: Iterable[IndexEntry]) -> Sequence[tuple[IndexEntry, ProviderKeys]]:
    """Return the applications with keys of the provider that the token names as its issuer, and these keys."""
    pairs = [(entry, entry.key) for entry in fitting(token, entries)]
    issuer = token.claims.get("iss")
    return [(entry, keys) for entry, keys in pairs if isinstance(keys, ProviderKeys) and keys.place.issuer == issuer]


def provider_keys(name: str, kid: str | None, status: Status) -> Step:
    """Return the step about the keys of a provider, none of which signed the token."""

    def detail() -> Message:
        wanted = Message("missing") if kid is None else printable(kid)[:64]
        if status.fetched is None:
            sentence = Message(
                "no keys of the provider of %(name)s were fetched yet; the token's kid is %(kid)s",
                name=name,
                kid=wanted,
            )
            waiting = Message("%(first)s; the running service fetches them within a minute", first=sentence)
        else:
            sentence = waiting = Message(
                "%(name)s has the keys %(known)s of its provider, fetched %(time)s; the token's kid is %(kid)s",
                name=name,
                known=listed([printable(one) for one in status.kids]) if status.kids else Message("none"),
                time=times.show(status.fetched / 1000),
                kid=wanted,
            )
        if status.error is None:
            return waiting
        return Message("%(first)s; the last attempt failed: %(error)s", first=sentence, error=status.error)

    return failed("keys", detail)


def unsigned(entries: Sequence[IndexEntry], hint: Message | None) -> list[Step]:
    """Return the steps of a token that none of these applications signed, though all expect its algorithm."""
    applications = listed([entry.name for entry in entries])

    def detail() -> Message:
        reason = hint or Message("the token was changed, or signed with another secret")
        return Message("not signed with the secret of %(names)s: %(hint)s", names=applications, hint=reason)

    return [
        passed("algorithm", lambda: Message("expected by %(names)s", names=applications)),
        failed("signature", detail),
    ]
