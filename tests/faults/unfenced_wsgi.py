"""The service without fencing: it uses a primary that was replaced."""

from datafor_token import create_app
from datafor_token.store.sql.fencing import Timelines

Timelines.check = lambda _, __: None  # type: ignore[method-assign]
app = create_app()
