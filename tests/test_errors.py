"""Errors and their messages."""

import copy
import pickle

import pytest

from datafor_token import errors
from datafor_token.errors import Conflict, MaybeStored, Message, RuleError, StoreUnavailable


@pytest.mark.parametrize(
    "message",
    [
        Message("must be at most %(number)s characters long", number=64),
        Message("in a form, send '+' as %2B"),
        Message("%(field)s %(predicate)s", field="name", predicate=Message("is 100%")),
    ],
)
def test_a_message_keeps_its_template_in_copies(message: Message) -> None:
    """A copied or pickled message is the same sentence, with the same template and parameters."""
    for copied in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):  # noqa: S301 - its own bytes
        assert (str(copied), copied.template, copied.parameters) == (
            str(message),
            message.template,
            message.parameters,
        )


def test_a_template_without_parameters_is_not_formatted() -> None:
    """Without parameters, a percent sign stands for itself, also in a message that becomes an error."""
    assert RuleError("send '+' as %2B").message == "send '+' as %2B"
    assert RuleError(Message("%(part)s of 100%%", part="half")).message == "half of 100%"


def test_parameters_need_a_template() -> None:
    """An error without a template takes no parameters: a mistyped argument must not be lost in silence."""
    with pytest.raises(TypeError, match="resaon"):
        Conflict(resaon="x")


def test_every_error_has_a_message_of_its_own() -> None:
    """No error with a status other than 500 says "internal error"."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.DataforTokenError) and kind.status != 500:
            assert kind.message != errors.DataforTokenError.message or kind is errors.InvalidInput
    assert str(Conflict()) == "the request conflicts with the stored record"


def test_a_change_that_may_be_stored_does_not_deny_it() -> None:
    """The message of ``MaybeStored`` differs from that of an outage in which nothing was stored."""
    assert str(MaybeStored()) == "storage is unavailable: the change may or may not have been stored"
    assert str(StoreUnavailable()) == "storage is unavailable"
