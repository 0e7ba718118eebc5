"""Fixtures of the tests of commands."""

import pytest
from flask import Flask

from tests.cli.shell import Shell


@pytest.fixture
def shell(app: Flask) -> Shell:
    return Shell(app)
