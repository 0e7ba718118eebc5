"""Users of verified tokens: find or create them, and decide whether the token may sign them in."""

import logging
from collections.abc import Callable

from datafor_token.applications import policy
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Message
from datafor_token.settings import Settings
from datafor_token.store.base import AlreadyExists
from datafor_token.tokens.verifier import Refused, Step, VerifiedToken, passed
from datafor_token.users.users import ADMINISTRATOR, User, Users
from datafor_token.validation import logs, names

log = logging.getLogger(__name__)
_NO_ADMINISTRATOR = passed("administrator", lambda: Message("the user is not an Administrator: no further check"))
_MAY_ADMINISTER = passed("administrator", lambda: Message("tokens of this application can sign in an Administrator"))


class TokenUsers:
    """Finds and creates the users of verified tokens. ``clock`` returns seconds since 1970."""

    def __init__(self, users: Users, clock: Callable[[], float], settings: Settings) -> None:
        self._users = users
        self._clock = clock
        self._settings = settings

    def admit(self, token: VerifiedToken, user: User | None, *, create: bool) -> tuple[User | None, list[Step]]:
        """Return the token's user, created if ``create`` and the application say so, and the steps.

        ``user`` is the stored one, if any. Raises ``Refused``.
        """
        application = token.application
        if user is not None:
            known = user
            if not known.enabled:
                detail = Message("the user %(name)s is disabled", name=known.name)
                raise Refused("user", "disabled_user", detail)
            if application.users == policy.OWN and not known.belongs_to(application.name):
                detail = Message(
                    "the user %(user)s does not belong to %(name)s, which accepts only its own users",
                    user=known.name,
                    name=application.name,
                )
                raise Refused("user", "not_own_user", detail)
            found = passed("user", lambda: Message("the user %(name)s is known and enabled", name=known.name))
            return known, [found, self._check_administrator(known.type, token)]
        if not application.inituser:
            detail = Message(
                "the user %(user)s does not exist, and %(name)s creates no users: inituser is 0",
                user=token.username,
                name=application.name,
            )
            raise Refused("user", "unknown_user", detail)
        kind, roles = names.user_type_and_roles(application.initroles)
        new = passed(
            "user",
            lambda: Message(
                "the user %(user)s is created at the first sign-in, as %(type)s", user=token.username, type=kind
            ),
        )
        steps = [new, self._check_administrator(kind, token)]
        if not create:
            return None, steps
        newcomer = User(
            name=token.username,
            full_name=names.display_text(token.text(application.fieldmap.name)),
            email=names.display_text(token.text(application.fieldmap.email)),
            type=kind,
            roles=roles,
            application=application.name,
            created_date=int(self._clock() * 1000),
        )
        try:
            user = self._users.create(newcomer, application.initpwd, application.name)
        except AlreadyExists:
            # Another request created the user meanwhile: it is an existing user now.
            return self.admit(token, self._users.get(token.username), create=create)
        log.info(logs.event("user created", user=user.name, type=kind, application=application.name))
        return user, steps

    def _check_administrator(self, user_type: str, token: VerifiedToken) -> Step:
        if user_type != ADMINISTRATOR:
            return _NO_ADMINISTRATOR
        if not self._settings.tokens_may_administer:
            detail = Message("tokens cannot sign in an Administrator: TOKENS_MAY_ADMINISTER is false")
            raise Refused("administrator", "administrator_refused", detail)
        # The present secret must be strong too: during a grace period, somebody who guesses it could sign with it.
        application = token.application
        secrets = [application.secret]
        if token.signer.is_previous and application.previous is not None:
            secrets.append(application.previous.secret)
        if any(weakness(application.algorithm, secret) for secret in secrets):
            detail = Message(
                "the secret of %(name)s is weak: it cannot sign in an Administrator", name=application.name
            )
            raise Refused("administrator", "administrator_refused", detail)
        return _MAY_ADMINISTER
