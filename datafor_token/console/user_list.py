"""The list of users: search, filters, sorting, and actions on several users."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import confirmation, flashes, guard, pages, user_questions
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, sentence
from datafor_token.console.user_pages import named
from datafor_token.errors import DataforTokenError, Forbidden, RecordDamaged, StoreUnavailable
from datafor_token.users.users import User
from datafor_token.validation.names import USER_TYPES, fold
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.current import current
from datafor_token.web.services import services

_ACTIONS = ("enable", "disable", "delete")
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
    names, action = _selected(guard.form()), guard.text("action")
    if not names or action not in _ACTIONS:
        flashes.add(N_("Nothing was selected."))
        return _back_to_list()
    if action != "enable" and not guard.text("confirmed"):
        return confirmation.ask(_question(guard.form(), names, action))
    if action == "delete" and guard.text(confirmation.TYPED) != str(len(names)):
        return confirmation.ask(_question(guard.form(), names, action), confirmation.mistyped())
    _change_all(names, action)
    return _back_to_list()


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


def _selected(form: guard.Form) -> Sequence[str]:
    names = form.get("name", [])
    texts = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    return list(dict.fromkeys(name for name in texts if isinstance(name, str)))


def _change_all(names: Sequence[str], action: str) -> None:
    """Carry out the action for each user; messages tell the numbers, and the names of those that it failed for."""
    changed: list[str] = []
    failed: dict[str, list[str]] = {}
    try:
        for name in names:
            try:
                if _change(name, action):
                    changed.append(name)
            except DataforTokenError as error:
                if isinstance(error, StoreUnavailable) and not isinstance(error, RecordDamaged):
                    # All others would fail too.
                    raise
                failed.setdefault(sentence(error.message), []).append(name)
    finally:
        _flash(action, changed)
        for reason, which in failed.items():
            flashes.add(N_("Not changed: %(names)s. %(reason)s."), names=", ".join(which), reason=reason)


def _change(name: str, action: str) -> bool:
    """Carry out the action for one user; return whether there was anything to change."""
    found, reader = named(name), guard.caller().user
    if action == "delete":
        services().accounts.remove(found.name, by=reader)
        return True
    services().accounts.change(found.name, enabled=action == "enable", by=reader)
    return found.enabled != (action == "enable")


def _flash(action: str, changed: Sequence[str]) -> None:
    number = len(changed)
    reverse = {"enable": "disable", "disable": "enable"}.get(action)
    fields: dict[str, str | list[str]] = {
        "name": list(changed), "back": guard.text("back"), "confirmed": "1"
    }  # fmt: skip
    undo = flashes.Undo("several_users", {}, {**fields, "action": reverse}) if reverse and changed else None
    if action == "enable":
        flashes.add_count("Enabled %(num)s user.", "Enabled %(num)s users.", number, undo)
    elif action == "disable":
        flashes.add_count("Disabled %(num)s user.", "Disabled %(num)s users.", number, undo)
    else:
        flashes.add_count("Deleted %(num)s user.", "Deleted %(num)s users.", number)


def _question(form: guard.Form, names: Sequence[str], action: str) -> confirmation.Question:
    back = str(form.get("back", ""))
    return user_questions.several(
        action, names, _list_path(back), {"name": list(names), "action": action, "back": back}
    )


def _list_path(back: str) -> str:
    """Return the path of the list, with the search and the filters of ``back``."""
    path = guard.allowed_target(back, guard.caller())
    return proxy_prefix() + path if path else pages.link_to("users")


def _back_to_list() -> ResponseReturnValue:
    return pages.redirect_to_path(_list_path(guard.text("back")))


@guard.redisplays("several_users")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    names, action = _selected(form), str(form.get("action", ""))
    if not names or action not in _ACTIONS:
        raise Forbidden(guard.OUTDATED)
    return confirmation.ask(_question(form, names, action))
