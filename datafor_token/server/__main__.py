"""gunicorn's command, without the current folder among those from which Python imports.

``datafor-token serve`` runs in folders in which others may write, as root too: no module there may become a part of it.
"""

import os

from gunicorn.app.wsgiapp import WSGIApplication


class _Application(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's application, which would put the current folder first."""

    def chdir(self) -> None:
        """Change to the folder of the setting ``chdir``."""
        os.chdir(self.cfg.chdir)


if __name__ == "__main__":
    _Application("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()
