"""Changes of a user by a token: rules of ``sync``, ``roles_claim`` and ``roles_map``."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.applications.record import Application
from datafor_token.tokens import syncing
from datafor_token.users.users import ADMINISTRATOR, User
from datafor_token.validation.names import USER_TYPES
from tests.support import application

MAP = {"sales": "Sales", "north": "North", "author": "SYS_Creator", "reader": "SYS_Reader", "root": "Administrator"}
ERP = Application.from_document(application(sync=["name", "email", "roles"], roles_claim="groups", roles_map=MAP))
LENA = User(name="lena", full_name="Lena", email="l@x", roles=("Sales", "Own"), application="ERP", synced=100)


def changed(user: User = LENA, app: Application = ERP, *, may: bool = False, **claims: Any) -> dict[str, Any]:
    """Return the members that a token with ``iat`` 200 changes, without ``synced``."""
    after = syncing.follow(app, user, {"iat": 200, **claims}, may_administer=may)
    if after is None:
        return {}
    assert after.synced == {"iat": 200, **claims}["iat"]
    names = [field.name for field in dataclasses.fields(User) if field.name != "synced"]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(user, name)}


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (["sales", "north"], ("Sales", "Own", "North")),
        (["north"], ("Own", "North")),
        (["north", "unknown", "Sales"], ("Own", "North")),
        (["north", "north", 1, None, ["sales"], {"sales": 1}], ("Own", "North")),
        ([], ("Own",)),
        ("north", ("Own", "North")),
        ("sales, north ,,unknown", ("Sales", "Own", "North")),
        ("", ("Own",)),
        (None, ("Own",)),
        (7, ("Own",)),
        (True, ("Own",)),
        ({"sales": True}, ("Own",)),
    ],
)
def test_roles(groups: object, roles: tuple[str, ...]) -> None:
    """Mapped roles follow a list of texts or a text with commas; any other claim, or none, gives no roles."""
    assert changed(groups=groups).get("roles") == roles


def test_a_missing_roles_claim_gives_no_roles() -> None:
    """Providers leave the claim out of the token of a user without roles: then mapped roles go."""
    assert changed() == {"roles": ("Own",)}


def test_a_value_with_commas() -> None:
    """A text that is a key of the map is one value, as it may be the name of a single group with commas."""
    app = dataclasses.replace(ERP, roles_map={"CN=North,OU=Groups": "North"})
    assert changed(app=app, groups="CN=North,OU=Groups") == {"roles": ("Sales", "Own", "North")}


def test_a_pointer() -> None:
    """The roles claim can be a JSON Pointer into nested claims."""
    app = dataclasses.replace(ERP, roles_claim="/realm_access/roles")
    assert changed(app=app, realm_access={"roles": ["north"]}) == {"roles": ("Own", "North")}
    assert changed(app=app, realm_access=["north"]) == {"roles": ("Own",)}


@pytest.mark.parametrize(
    ("groups", "kind"),
    [
        (["author"], "SYS_Creator"),
        (["reader", "author"], "SYS_Creator"),
        (["reader", "root", "author"], "SYS_Creator"),
        (["reader"], None),
        (["root"], None),
        ([], None),
    ],
)
def test_the_type(groups: list[str], kind: str | None) -> None:
    """The highest mapped type is taken, Administrator only where tokens may administer; without one, it stays."""
    assert changed(groups=["sales", *groups]).get("type") == kind
    with_root = ADMINISTRATOR if "root" in groups else kind
    assert changed(groups=["sales", *groups], may=True).get("type") == with_root


def test_a_type_stays_when_its_value_is_gone() -> None:
    """A type whose claim value is gone stays, and only another mapped type replaces it."""
    author = dataclasses.replace(LENA, type="SYS_Creator")
    assert changed(author, groups=["sales"]) == {}
    assert changed(author, groups=["sales", "reader"]) == {"type": "SYS_Reader"}


@pytest.mark.parametrize("may", [True, False])
def test_an_administrator_stays_one(*, may: bool) -> None:
    """No token demotes an Administrator; name, email address and roles follow."""
    root = dataclasses.replace(LENA, type=ADMINISTRATOR)
    assert changed(root, groups=["reader"], name="L", may=may) == {"full_name": "L", "roles": ("Own",)}


@pytest.mark.parametrize("value", ["", " ", "\n", None, 7, ["x"], {"a": "b"}])
def test_no_name(value: object) -> None:
    """A name or email address that is missing, empty or not text leaves the stored one."""
    assert changed(groups="sales", name=value, email=value) == {}
    assert changed(groups="sales") == {}


def test_name_and_email() -> None:
    """Name and email address follow, without control characters and cut at 256 characters."""
    assert changed(groups="sales", name="Lena\nLi", email="e" * 300) == {"full_name": "LenaLi", "email": "e" * 256}


def test_only_what_sync_names() -> None:
    """Members that sync does not name stay."""
    sent: dict[str, Any] = {"name": "L", "email": "e@x", "groups": ["north"]}
    for fields, expected in {
        ("name",): {"full_name": "L"},
        ("email",): {"email": "e@x"},
        ("roles",): {"roles": ("Own", "North")},
        None: {},
    }.items():
        assert changed(app=dataclasses.replace(ERP, sync=fields), **sent) == expected


@pytest.mark.parametrize("iat", [None, 0, 99, 100, "200", True])
def test_only_a_later_token(iat: object) -> None:
    """A token without iat, or issued no later than the one that the user followed last, changes nothing."""
    assert changed(iat=iat) == {}


def test_a_later_token() -> None:
    """A token issued a moment later changes the user, and a user who followed none follows any with iat."""
    assert changed(iat=100.5) == {"roles": ("Own",)}
    assert changed(dataclasses.replace(LENA, synced=None), iat=0) == {"roles": ("Own",)}


@pytest.mark.parametrize("members", [{"application": "CRM"}, {"application": ""}, {"enabled": False}])
def test_other_users(members: dict[str, Any]) -> None:
    """A token changes no user of another application or of none, and no disabled user."""
    assert changed(dataclasses.replace(LENA, **members)) == {}


def test_another_spelling_of_the_application() -> None:
    """A user belongs to the application in whatever case its name is stored: it can be created again as ``erp``."""
    assert changed(dataclasses.replace(LENA, application="erp")) == {"roles": ("Own",)}


@pytest.mark.parametrize(
    ("initroles", "groups", "expected"),
    [
        (["SYS_Reader", "Own"], ["north", "author"], ("SYS_Creator", ("Own", "North"))),
        (["SYS_Creator", "Own"], [], ("SYS_Creator", ("Own",))),
        (["SYS_Creator"], ["root"], ("SYS_Creator", ())),
        # As at the next sync: what the map gives, the token decides.
        (["Sales"], ["north"], ("SYS_Reader", ("North",))),
        ([ADMINISTRATOR], ["reader"], ("SYS_Reader", ())),
    ],
)
def test_a_new_user(initroles: list[str], groups: list[str], expected: tuple[str, tuple[str, ...]]) -> None:
    """A new user has initroles, changed by the map as an existing user's roles are; its type wins if it has one."""
    app = dataclasses.replace(ERP, initroles=tuple(initroles))
    assert syncing.initial_type_and_roles(app, {"groups": groups}, may_administer=False) == expected


TEXTS = st.sampled_from([*MAP, "other", "Sales", ""])
ROLES = st.sampled_from(["Sales", "North", "Own", "Other", "sales", "root"])


@given(
    st.dictionaries(TEXTS, st.sampled_from(["Sales", "North", *USER_TYPES])),
    st.lists(ROLES, unique=True),
    st.one_of(st.lists(TEXTS), st.lists(TEXTS).map(",".join), st.none(), st.integers()),
    st.sampled_from(USER_TYPES),
    st.booleans(),
)
def test_roles_outside_the_map_never_change(
    roles_map: dict[str, str],
    roles: list[str],
    groups: object,
    kind: str,
    may: bool,
) -> None:
    """For every map, claim and user: roles outside the map stay, Administrators too, and a second time is no change."""
    app = dataclasses.replace(ERP, roles_map=roles_map)
    user = dataclasses.replace(LENA, roles=tuple(roles), type=kind)
    after = syncing.follow(app, user, {"iat": 200, "groups": groups}, may_administer=may) or user
    given_roles = set(roles_map.values())
    assert [role for role in after.roles if role not in given_roles] == [
        role for role in roles if role not in given_roles
    ]
    assert after.type == kind or after.type in given_roles
    assert kind != ADMINISTRATOR or after.type == kind
    assert may or after.type != ADMINISTRATOR or kind == ADMINISTRATOR
    assert set(after.roles) - set(roles) <= given_roles - set(USER_TYPES)
    again = dataclasses.replace(after, synced=100)
    assert syncing.follow(app, again, {"iat": 200, "groups": groups}, may_administer=may) is None
