"""Users of verified tokens: find, create or change them, and decide whether the token may sign them in."""

import logging
import math
from collections.abc import Callable

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Message
from datafor_token.settings import Settings
from datafor_token.store.base import AlreadyExists
from datafor_token.tokens import identifiers, syncing
from datafor_token.tokens.verifier import Refused, Step, VerifiedToken, if_reported, passed
from datafor_token.users.users import ADMINISTRATOR, User, Users
from datafor_token.validation import logs, names

log = logging.getLogger(__name__)
_NO_ADMINISTRATOR = passed("administrator", lambda: Message("the user is not an Administrator: no further check"))
_MAY_ADMINISTER = passed("administrator", lambda: Message("tokens of this application can sign in an Administrator"))


class TokenUsers:
    """Finds, creates and changes the users of verified tokens. ``clock`` returns seconds since 1970.

    ``check_new_user`` raises ``Refused`` for a token that must not create its user: one that was revoked since it was
    verified, or is from before a deletion. It is called before a user is created, under the lock of the users: there
    the store returns what is stored now, and not as of the beginning of the request.
    """

    def __init__(
        self,
        users: Users,
        clock: Callable[[], float],
        settings: Settings,
        check_new_user: Callable[[VerifiedToken], object],
    ) -> None:
        self._users = users
        self._clock = clock
        self._settings = settings
        self._check_new_user = check_new_user

    def admit(
        self, token: VerifiedToken, user: User | None, *, create: bool, first: bool = False
    ) -> tuple[User | None, list[Step]]:
        """Return the token's user, created if ``create`` and the application say so, and the steps.

        ``user`` is the stored one, if any. With ``first``, as the token was not verified before, the user follows the
        token (see ``syncing``); without ``create``, the steps only state what would change. Raises ``Refused``, and
        ``StoreUnavailable`` where a change cannot be stored: nobody signs in with roles that the token takes away.
        """
        if user is None:
            return self._admit_new(token, create=create)
        steps = [_check_user(token.application, user), self._check_administrator(user.type, token)]
        if first and not create:
            against = self._against_administrator(token)
            return user, [*steps, *syncing.steps(token.application, user, token.claims, against)]
        if first and self._followed(token, user) is not None:
            identifier = None if token.identifier is None else identifiers.short(token.identifier)
            user = self._users.sync(
                user.name, lambda stored: self._followed(token, stored), token.application.name, identifier
            )
            # All checks again: the user may have been disabled or deleted meanwhile.
            return self.admit(token, user, create=create)
        return user, steps

    def _admit_new(self, token: VerifiedToken, *, create: bool) -> tuple[User | None, list[Step]]:
        application = token.application
        if not application.inituser:
            detail = Message(
                "the user %(user)s does not exist, and %(name)s creates no users: inituser is 0",
                user=token.username,
                name=application.name,
            )
            raise Refused("user", "unknown_user", detail)
        kind, roles = syncing.initial_type_and_roles(
            application, token.claims, may_administer=self._may_administer(token)
        )
        new = passed(
            "user",
            lambda: Message(
                "the user %(user)s is created at the first sign-in, as %(type)s", user=token.username, type=kind
            ),
        )
        steps = [new, self._check_administrator(kind, token)]
        if not create:
            self._check_new_user(token)
            against = self._against_administrator(token)
            return None, [*steps, *syncing.steps(application, None, token.claims, against)]
        now, issued = self._clock(), syncing.issued_at(token.claims)
        newcomer = User(
            name=token.username,
            full_name=names.display_text(token.text(application.fieldmap.name)),
            email=names.display_text(token.text(application.fieldmap.email)),
            type=kind,
            roles=roles,
            application=application.name,
            # The first sync, also where sync is not set yet: no token that was issued before changes the user later.
            synced=math.ceil(now) if issued is None else issued,
            created_date=int(now * 1000),
        )
        try:
            # A deletion of the user ends before the user is seen to be missing, and revokes the token before it ends.
            user = self._users.create(
                newcomer, application.initpwd, application.name, check=lambda: self._check_new_user(token)
            )
        except AlreadyExists:
            # Another request created the user meanwhile: it is an existing user now.
            return self.admit(token, self._users.get(token.username), create=create, first=True)
        log.info(logs.event("user created", user=user.name, type=kind, application=application.name))
        return user, steps

    def _followed(self, token: VerifiedToken, user: User) -> User | None:
        return syncing.follow(token.application, user, token.claims, may_administer=self._may_administer(token))

    def _may_administer(self, token: VerifiedToken) -> bool:
        """Return whether a token may make an Administrator; false where its application has no role that does."""
        given = (token.application.roles_map or {}).values()
        return ADMINISTRATOR in given and self._against_administrator(token) is None

    def _check_administrator(self, user_type: str, token: VerifiedToken) -> Step:
        if user_type != ADMINISTRATOR:
            return _NO_ADMINISTRATOR
        against = self._against_administrator(token)
        if against is not None:
            raise Refused("administrator", "administrator_refused", against)
        return _MAY_ADMINISTER

    def _against_administrator(self, token: VerifiedToken) -> Message | None:
        """Return why the token can neither sign in nor make an Administrator, or ``None``."""
        if not self._settings.tokens_may_administer:
            return Message("tokens cannot sign in an Administrator: TOKENS_MAY_ADMINISTER is false")
        application = token.application
        # The present secret must be strong too: during a grace period, somebody who guesses it could sign with it.
        secrets = [application.secret]
        if token.signer.is_previous and application.previous is not None:
            secrets.append(application.previous.secret)
        if any(weakness(application.algorithm, secret) for secret in secrets):
            return Message("the secret of %(name)s is weak: it cannot sign in an Administrator", name=application.name)
        return None


def _check_user(application: Application, user: User) -> Step:
    if not user.enabled:
        raise Refused("user", "disabled_user", Message("the user %(name)s is disabled", name=user.name))
    if application.users == policy.OWN and not user.belongs_to(application.name):
        detail = Message(
            "the user %(user)s does not belong to %(name)s, which accepts only its own users",
            user=user.name,
            name=application.name,
        )
        return if_reported(application, "users", Refused("user", "not_own_user", detail))
    return passed("user", lambda: Message("the user %(name)s is known and enabled", name=user.name))
