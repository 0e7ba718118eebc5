"""``datafor-token user``: users with a password."""

from typing import Any

import click

from datafor_token.cli.output import (
    Commands,
    confirm,
    echo,
    json_option,
    name_damaged,
    read_secret,
    secret_options,
    show,
    show_one,
    yes_option,
)
from datafor_token.cli.services import services
from datafor_token.validation.names import USER_TYPES

user = Commands("user", help="Manage users. Example: datafor-token user add lena --type SYS_Reader --role Sales")

_type = click.option("--type", "type", type=click.Choice(USER_TYPES), help="Type of the user.")
_roles = click.option("--role", "roles", multiple=True, help="Role; can be repeated.")
_full_name = click.option("--full-name", help="Display name.")
_email = click.option("--email", help="Email address.")


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None and value != ()}


@user.command("add")
@click.argument("name")
@_type
@_roles
@_full_name
@_email
@secret_options("password")
def add(name: str, file: Any, **members: Any) -> None:
    """Create a user. The password is read from a prompt, standard input or a file.

    Example: datafor-token user add lena --type SYS_Creator --role Sales < password.txt
    """
    password = read_secret("password", file)
    created = services().accounts.add(name, password, **_given(members))
    echo(f"{created.name} was added as {created.type}")


@user.command("list")
@json_option
def list_all(*, as_json: bool) -> None:
    """List users.

    Example: datafor-token user list --json
    """
    users, damaged = services().accounts.all()
    show([one.to_response() for one in users], as_json=as_json)
    name_damaged(damaged)


@user.command("show")
@click.argument("name")
@json_option
def show_user(name: str, *, as_json: bool) -> None:
    """Show a user.

    Example: datafor-token user show lena
    """
    show_one(services().accounts.get(name).to_response(), as_json=as_json)


@user.command("passwd")
@click.argument("name")
@secret_options("password")
def passwd(name: str, file: Any) -> None:
    """Set the password of a user. Their sessions end.

    Example: datafor-token user passwd admin
    """
    services().accounts.get(name)
    services().accounts.set_password(name, read_secret("password", file))
    echo("The password was changed")


@user.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let a user sign in again.

    Example: datafor-token user enable lena
    """
    echo(f"{services().accounts.change(name, enabled=True).name} is enabled")


@user.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Disable a user, who can no longer sign in. The last Administrator cannot be disabled.

    Example: datafor-token user disable lena
    """
    echo(f"{services().accounts.change(name, enabled=False).name} is disabled")


@user.command("set")
@click.argument("name")
@_type
@_roles
@click.option("--no-roles", is_flag=True, help="Remove all roles.")
@_full_name
@_email
def set_members(name: str, *, no_roles: bool, **members: Any) -> None:
    """Change a user. The given roles replace the present ones.

    Example: datafor-token user set lena --type SYS_Reader --role Sales --role North
    """
    given = _given(members)
    if no_roles == ("roles" in given) and (no_roles or not given):
        raise click.UsageError("give at least one change, and either --role or --no-roles")
    changes = given | ({"roles": ()} if no_roles else {})
    echo(f"{services().accounts.change(name, **changes).name} was changed")


@user.command("delete")
@click.argument("name")
@yes_option
def delete(name: str, *, yes: bool) -> None:
    """Delete a user. The last Administrator cannot be deleted.

    Example: datafor-token user delete lena --yes
    """
    found = services().accounts.get(name)
    confirm(f"Delete the user {found.name}?", yes=yes)
    services().accounts.remove(name)
    echo(f"{found.name} was deleted")
