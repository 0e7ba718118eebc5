"""``datafor-token user``: users with a password."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from datafor_token.cli.failures import Failed
from datafor_token.cli.groups import Commands
from datafor_token.cli.inputs import confirm, read_secret, secret_options, yes_option
from datafor_token.cli.output import (
    done,
    done_once,
    name_damaged,
    show,
    show_dated,
    show_one,
    shown_cut_offs,
)
from datafor_token.cli.parameters import application_name, user_name
from datafor_token.cli.services import current_settings, services
from datafor_token.errors import Conflict, InvalidInput, LastAdministrator, NotFound, predicate_of
from datafor_token.validation.names import DEFAULT_USER_TYPE, USER_TYPES

if TYPE_CHECKING:
    from datafor_token.users.users import User

user = Commands("user", help="Manage users. Example: datafor-token user add lena --type SYS_Reader --role Sales")

_type = click.option("--type", "type", type=click.Choice(USER_TYPES), help="Type of the user.")
_type_of_new = click.option(
    "--type", "type", type=click.Choice(USER_TYPES), help=f"Type of the user.  [default: {DEFAULT_USER_TYPE}]"
)
_roles = click.option("--role", "roles", multiple=True, help="Role; can be repeated.")
_full_name = click.option("--full-name", help="Display name.")
_email = click.option("--email", help="Email address.")
_mobile = click.option("--mobile", help="Telephone number.")
_dept = click.option("--dept", help="Department.")
_title = click.option("--title", help="Title.")

_application = click.option(
    "--application",
    type=application_name,
    help="Application to which the user belongs, and whose tokens may change the user (sync).",
)
_random_password = click.option("--random-password", is_flag=True, help="Generate a password and print it once.")


def _password(file: Any, *, is_random: bool) -> str:
    if is_random and file is not None:
        raise click.UsageError("Give either --password-file or --random-password", click.get_current_context())
    if is_random:
        return secrets.token_urlsafe(max(18, current_settings().min_password_length))
    return read_secret("password", file, "--password-file, --random-password or standard input")


def _shown(one: "User") -> dict[str, Any]:
    """Return what commands show of a user: as the calls do, and further members that are not empty."""
    further = {**one.profile, "application": one.application}
    return {**one.to_response(), **{name: value for name, value in further.items() if value}}


def _report(changed: "User", what: str, *, result: str | None = None, password: str | None = None) -> None:
    """Report a change of a user; ``password``: a generated one."""
    sentence, fields = f"{changed.name} {what}", _shown(changed)
    if password is None:
        done(sentence, result=result, user=fields)
    else:
        again = f"get another password with `datafor-token user passwd {changed.name} --random-password`"
        done_once(sentence, again, result=password, password=password, user=fields)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Add to a refusal what to do, and name the option of a value that breaks a rule."""
    try:
        yield
    except InvalidInput as error:
        if "name" in error.errors:
            raise InvalidInput.of("full-name", predicate_of(error.errors["name"][0])) from None
        raise
    except LastAdministrator as error:
        raise Failed(
            f"{error.message}: make another one first, with `datafor-token user set NAME --type Administrator`"
        ) from error


def _change(name: str, **changes: Any) -> "User":
    with _explained():
        return services().accounts.change(name, **changes)


def _given(members: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in members.items() if value is not None and value != ()}
    if "application" in given:
        try:
            given["application"] = services().registry.get(given["application"]).name
        except NotFound as error:
            raise Failed(f"application '{given['application']}' does not exist") from error
    return given


@user.command("add")
@click.argument("name")
@_type_of_new
@_roles
@_full_name
@_email
@_mobile
@_dept
@_title
@_application
@secret_options("password")
@_random_password
def add(name: str, file: Any, *, random_password: bool, **members: Any) -> None:
    """Create a user, and print the name. The password is read from a prompt, standard input or a file.

    With --random-password, the password is printed instead of the name.

    Example: datafor-token user add lena --type SYS_Creator --role Sales < password.txt
    """
    password = _password(file, is_random=random_password)
    try:
        with _explained():
            created = services().accounts.add(name, password, **_given(members))
    except Conflict as error:
        raise Failed(f"{error.message}: change it with `datafor-token user set {name}`") from error
    generated = password if random_password else None
    _report(created, f"was added as {created.type}", result=created.name, password=generated)


@user.command("list")
def list_all() -> None:
    """List users.

    Example: datafor-token user list --json
    """
    users, damaged = services().accounts.all()
    show([_shown(one) for one in users])
    name_damaged(damaged)


@user.command("show")
@click.argument("name", type=user_name)
def show_user(name: str) -> None:
    """Show a user, and the cut-offs in force of the user's tokens.

    Example: datafor-token user show lena
    """
    found = services().accounts.get(name)
    show_one(_shown(found) | shown_cut_offs(services().cut_offs.of_user(found.name)))


@user.command("passwd")
@click.argument("name", type=user_name)
@secret_options("password")
@_random_password
def passwd(name: str, file: Any, *, random_password: bool) -> None:
    """Set the password of a user. Their sessions end. With --random-password, it is generated and printed.

    Example: datafor-token user passwd admin --random-password
    """
    services().accounts.get(name)
    password = _password(file, is_random=random_password)
    services().accounts.set_password(name, password)
    _report(services().accounts.get(name), "has a new password", password=password if random_password else None)


@user.command("sessions")
@click.argument("name", type=user_name)
def sessions(name: str) -> None:
    """Show the sessions of a user, newest first. With --json, times are in milliseconds since 1970.

    Example: datafor-token user sessions lena
    """
    found = services().session_list.of(services().accounts.get(name))
    show_dated([one.to_response() for one in found], "since", "last_seen")


@user.command("end-sessions")
@click.argument("name", type=user_name)
@click.option("--id", "identifier", help="Identifier of the only session to end, as `user sessions` shows it.")
def end_sessions(name: str, identifier: str | None) -> None:
    """End the sessions of a user, or one of them. A token can open another session until it is revoked.

    Example: datafor-token user end-sessions lena
    """
    found = services().accounts.get(name)
    if identifier is None:
        number = services().session_list.end_all(found)
    else:
        try:
            services().session_list.end(identifier, found.name)
        except NotFound as error:
            raise Failed(f"{found.name} has no such session: `datafor-token user sessions {name}` shows all") from error
        number = 1
    done(f"{number} {'session' if number == 1 else 'sessions'} of {found.name} ended", ended=number)


@user.command("enable")
@click.argument("name", type=user_name)
def enable(name: str) -> None:
    """Let a user sign in again.

    Example: datafor-token user enable lena
    """
    _report(_change(name, enabled=True), "is enabled")


@user.command("disable")
@click.argument("name", type=user_name)
def disable(name: str) -> None:
    """Disable a user, who can no longer sign in. Sessions end; the last Administrator cannot be disabled.

    After enable, tokens from before are accepted again: revoke them first, with token revoke --user.

    Example: datafor-token user disable lena
    """
    _report(_change(name, enabled=False), "is disabled")


@user.command("set")
@click.argument("name", type=user_name)
@_type
@_roles
@click.option("--no-roles", is_flag=True, help="Remove all roles.")
@_full_name
@_email
@_mobile
@_dept
@_title
@_application
@click.option("--no-application", is_flag=True, help="The user belongs to no application any more.")
def set_members(name: str, *, no_roles: bool, no_application: bool, **members: Any) -> None:
    """Change a user. The given roles replace the present ones.

    Example: datafor-token user set lena --type SYS_Reader --role Sales --role North
    """
    given = _given(members)
    removed: dict[str, Any] = ({"roles": ()} if no_roles else {}) | ({"application": ""} if no_application else {})
    if not given | removed or given.keys() & removed.keys():
        raise click.UsageError(
            "Give at least one change, and either --role or --no-roles, either --application or --no-application",
            click.get_current_context(),
        )
    changes = given | removed
    _report(_change(name, **changes), "was changed")


@user.command("delete")
@click.argument("name", type=user_name)
@yes_option
def delete(name: str, *, yes: bool) -> None:
    """Delete a user, and revoke the user's tokens. Sessions end; the last Administrator cannot be deleted.

    A new token creates the user again where an application has inituser 1: disable the user to prevent that.

    Example: datafor-token user delete lena --yes
    """
    found = services().accounts.get(name)
    confirm(f"Delete the user {found.name}?", yes=yes)
    with _explained():
        services().accounts.remove(name)
    done(f"{found.name} was deleted: sessions ended, and all tokens issued so far are refused", deleted=found.name)
