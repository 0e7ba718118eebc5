"""The service on a store that is broken on purpose; which one, the environment says."""

import os

from datafor_token import create_app
from datafor_token.store.files.store import FileStore
from tests.faults.variants import VARIANTS

# Before the application makes its store: the class that it knows behaves like the broken one.
FileStore._write = VARIANTS[os.environ["FAULTS_VARIANT"]]._write  # type: ignore[method-assign]
app = create_app()
