"""Request schemas: any value of any field is either read or refused with errors by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.errors import InvalidInput
from datafor_token.requests import schemas
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body

SCHEMAS = [
    kind()
    for kind in vars(schemas).values()
    if isinstance(kind, type) and issubclass(kind, CallSchema) and kind is not CallSchema
]
VALUES = st.sampled_from(["ERP", "", " ", "a:b", "/x", "1", "24h", "sign_in", 0, 1, 60, 10**10, True, {}, {"a": 1}, []])
VALUES |= st.text(max_size=5) | st.none()


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)
@given(data=st.data())
def test_a_request_is_read_or_refused_by_field(schema: CallSchema, data: st.DataObject) -> None:
    """A request becomes known fields with every required one, or an error with at least one sentence."""
    names = st.sampled_from([*schema.fields, "unknown"])
    values: dict[str, Any] = data.draw(st.dictionaries(names, VALUES, max_size=4))
    try:
        loaded = schema.read(Body(values, is_form=data.draw(st.booleans())))
    except InvalidInput as error:
        assert error.errors
        assert all(sentences for sentences in error.errors.values())
    else:
        assert (
            {name for name, field in schema.fields.items() if field.required} <= loaded.keys() <= schema.fields.keys()
        )
        assert {name for name, value in values.items() if value is not None} <= loaded.keys()
