"""The service with a deliberately broken store, which ``FAULTS_VARIANT`` names."""

import os

from datafor_token import create_app
from datafor_token.store.files.store import FileStore
from tests.faults.variants import VARIANTS

# Before the application opens its store: its class gets the method of the broken one.
FileStore._write = VARIANTS[os.environ["FAULTS_VARIANT"]]._write  # type: ignore[method-assign]
app = create_app()
