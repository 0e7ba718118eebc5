"""Service that stores trusted applications, issues tokens for their users, and accepts the tokens they sign."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datafor_token.factory import create_app as create_app

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import ``create_app`` when it is first used: most commands need neither Flask nor the views."""
    if name == "create_app":
        from datafor_token.factory import create_app

        return create_app
    raise AttributeError(name)
