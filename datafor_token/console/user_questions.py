"""Questions before an action on users: what it does, to whom, and the sessions and tokens that it affects."""

from collections.abc import Mapping

from datafor_token.console import pages
from datafor_token.console.confirmation import Question
from datafor_token.console.language import format_time, gettext
from datafor_token.users.users import User
from datafor_token.web.services import services


def disable(user: User) -> Question:
    """Ask before a user is disabled."""
    return _about(
        user,
        gettext("Disable %(name)s?"),
        gettext("The user cannot sign in any more, and all sessions end. You can enable the user again."),
        gettext("Disable %(name)s"),
    )


def delete(user: User) -> Question:
    """Ask before a user is deleted."""
    return _about(
        user,
        gettext("Delete %(name)s?"),
        gettext("All sessions end, and all tokens are revoked. This cannot be undone."),
        gettext("Delete %(name)s"),
        typed=user.name,
    )


def reset_password(user: User) -> Question:
    """Ask for the new password of a user."""
    return _about(
        user,
        gettext("Reset the password of %(name)s?"),
        gettext("The old password is refused, and all sessions end. Tokens remain valid."),
        gettext("Reset the password of %(name)s"),
        template="console/reset_password_fields.html",
    )


def demote(user: User, user_type: str, fields: Mapping[str, str]) -> Question:
    """Ask before an Administrator gets another type; ``fields`` are those of the form with the change."""
    values = {"name": user.name, "type": user_type}
    return Question(
        gettext("Demote %(name)s to %(type)s?") % values,
        gettext("The user can no longer administer this service. Sessions and tokens remain valid."),
        gettext("Demote %(name)s") % values,
        pages.link_to("user", name=user.name),
        services().impact.of_user(user.name),
        fields=fields,
    )


def end_sessions(user: User) -> Question:
    """Ask before all sessions of a user end."""
    return _about(
        user,
        gettext("End all sessions of %(name)s?"),
        gettext("The user is signed out everywhere, and can sign in again. Tokens remain valid."),
        gettext("End all sessions of %(name)s"),
        back="user_sessions",
        fields={"all": "1"},
    )


def revoke_tokens(user: User) -> Question:
    """Ask before all tokens of a user are revoked that were issued until now."""
    until = services().cut_offs.wanted(user.name, "", None).until * 1000
    effect = gettext(
        "All tokens of this user issued until now are refused, and sessions and one-time links from such tokens end. "
        "Sessions opened with a password remain valid. Tokens that do not say when they were issued (without iat) are "
        "refused until %(time)s at the latest. This cannot be undone."
    )
    return _about(
        user,
        gettext("Revoke all tokens of %(name)s?"),
        effect % {"time": format_time(until)},
        gettext("Revoke all tokens of %(name)s"),
        back="user_tokens",
        typed=user.name,
        template="console/revoke_tokens_fields.html",
    )


def revoke_token(user: User, label: str, fields: Mapping[str, str]) -> Question:
    """Ask before one token of a user is revoked: ``label`` says which."""
    return Question(
        gettext("Revoke the token %(label)s of %(name)s?") % {"label": label, "name": user.name},
        gettext("It is refused at once, and sessions opened with it end. This cannot be undone."),
        gettext("Revoke %(label)s") % {"label": label},
        pages.link_to("user_tokens", name=user.name),
        fields=fields,
    )


def _about(  # noqa: PLR0913 - the parts of a question
    user: User,
    title: str,
    effect: str,
    button: str,
    *,
    back: str = "user",
    fields: Mapping[str, str] | None = None,
    typed: str = "",
    template: str = "",
) -> Question:
    """Return a question about one user, whose name the title and the button have."""
    return Question(
        title % {"name": user.name},
        effect,
        button % {"name": user.name},
        pages.link_to(back, name=user.name),
        services().impact.of_user(user.name),
        fields=fields or {},
        typed=typed,
        template=template,
    )
