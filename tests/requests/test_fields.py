"""How the fields of a request are read: the short way for what is right never says anything else than Marshmallow."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from datafor_token.requests import schemas
from datafor_token.requests.fields import CallSchema

SCHEMAS = [
    kind()
    for kind in vars(schemas).values()
    if isinstance(kind, type) and issubclass(kind, CallSchema) and kind is not CallSchema
]
VALUES = st.sampled_from(["ERP", "", " ", "a:b", "/x", "1", "24h", "sign_in", 0, 1, 60, 10**10, True, {}, {"a": 1}, []])
VALUES |= st.text(max_size=5)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)
@given(data=st.data())
def test_the_short_way_finds_what_marshmallow_finds(schema: CallSchema, data: st.DataObject) -> None:
    """What is read without a look for faults is what ``load`` answers, and what has one is left to it."""
    names = st.sampled_from([*schema.fields, "unknown"])
    values: dict[str, Any] = data.draw(st.dictionaries(names, VALUES, max_size=4))
    found = schema._without_fault(values)
    try:
        expected = schema.load(values)
    except ValidationError:
        assert found is None
    else:
        assert found == (None if schema._by_field is None else expected)


def test_a_schema_with_rules_of_its_own_goes_the_long_way() -> None:
    """A rule about several fields is Marshmallow's to ask: only ``UpdateSchema`` has one."""
    assert [type(schema).__name__ for schema in SCHEMAS if schema._by_field is None] == ["UpdateSchema"]
