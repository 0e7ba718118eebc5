"""The list of users: search, filters, sorting, and actions on several users."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import guard, pages, several
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, NN_
from datafor_token.console.several import Records, Words
from datafor_token.console.user_pages import named
from datafor_token.tokens.impact import Impact
from datafor_token.users.users import User
from datafor_token.validation.names import USER_TYPES, fold
from datafor_token.web.current import current
from datafor_token.web.services import services

_BY_HAND = "-"  # as the filter of origins; no application has this name
_MOST_CHOICES = 200  # roles or applications in a filter; the search finds all others
_STATES = ("enabled", "disabled")
_COLUMNS: Mapping[str, Callable[[User], Any]] = {
    "name": lambda user: fold(user.name),
    "full_name": lambda user: (fold(user.full_name), fold(user.name)),
    "type": lambda user: (USER_TYPES.index(user.type), fold(user.name)),
    "origin": lambda user: (fold(user.application), fold(user.name)),
    "created": lambda user: (user.created_date, fold(user.name)),
}


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """Show a page of the users that match the search and the filters."""
    found, damaged = services().accounts.all()
    uses = services().last_uses
    columns = dict(_COLUMNS)
    if pages.sorting([*_COLUMNS, "used"])[0] == "used":
        last = uses.all_users()
        columns["used"] = lambda user: (last.get(fold(user.name), 0), fold(user.name))
    wanted = {name: current().args.get(name, "") for name in ("type", "state", "origin", "role")}
    page = pages.page_of([user for user in found if _is_wanted(user, wanted)], _text_of, columns)
    return pages.render(
        "users.html",
        page=page,
        last=uses.of_users(user.name for user in page.items),
        since=uses.since,
        wanted=wanted,
        user_types=USER_TYPES,
        by_hand=_BY_HAND,
        origins=_choices((user.application for user in found), wanted["origin"]),
        roles=_choices((role for user in found for role in user.roles), wanted["role"]),
        search=pages.search(),
        fold=fold,
        damaged=damaged,
    )


@blueprint.post("/several-users")
def several_users() -> ResponseReturnValue:
    """Enable the selected users; after a question, disable or delete them."""
    return several.carry_out(_RECORDS)


@guard.redisplays("several_users")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return several.ask_again(_RECORDS, form)


def _is_wanted(user: User, wanted: Mapping[str, str]) -> bool:
    kind, state, origin, role = wanted["type"], wanted["state"], wanted["origin"], wanted["role"]
    return (
        (kind not in USER_TYPES or user.type == kind)
        and (state not in _STATES or user.enabled == (state == "enabled"))
        and (not origin or (not user.application if origin == _BY_HAND else user.belongs_to(origin)))
        and (not role or role in user.roles)
    )


def _text_of(user: User) -> str:
    """Return the text that the search looks at."""
    texts = (user.name, user.full_name, user.email, user.application, user.mobile, user.dept, user.title, *user.roles)
    return "\n".join(texts)


def _choices(values: Iterable[str], chosen: str) -> Sequence[str]:
    """Return the values of a filter, without empty ones; the chosen one is always among them."""
    found = sorted({value for value in values if value}, key=fold)[:_MOST_CHOICES]
    return found if chosen in ("", _BY_HAND, *found) else [chosen, *found]


def _change(name: str, action: str) -> bool:
    """Carry out the action for one user; return whether there was anything to change."""
    found, reader = named(name), guard.caller().user
    if action == "delete":
        services().accounts.remove(found.name, by=reader)
        return True
    services().accounts.change(found.name, enabled=action == "enable", by=reader)
    return found.enabled != (action == "enable")


def _impact(names: Sequence[str]) -> Impact:
    return services().impact.of_users(names)


_RECORDS = Records(
    "users",
    "several_users",
    {
        "enable": Words(
            NN_("Enable %(num)s user?", "Enable %(num)s users?"),
            N_("They can sign in again."),
            NN_("Enable %(num)s user", "Enable %(num)s users"),
            NN_("Enabled %(num)s user.", "Enabled %(num)s users."),
        ),
        "disable": Words(
            NN_("Disable %(num)s user?", "Disable %(num)s users?"),
            N_("They cannot sign in any more, and all their sessions end. You can enable them again."),
            NN_("Disable %(num)s user", "Disable %(num)s users"),
            NN_("Disabled %(num)s user.", "Disabled %(num)s users."),
        ),
        "delete": Words(
            NN_("Delete %(num)s user?", "Delete %(num)s users?"),
            N_("All their sessions end, and all their tokens are revoked. This cannot be undone."),
            NN_("Delete %(num)s user", "Delete %(num)s users"),
            NN_("Deleted %(num)s user.", "Deleted %(num)s users."),
        ),
    },
    _change,
    _impact,
)
