"""The command of a checkout that is not installed: ``python -m datafor_token``."""

from datafor_token.cli.main import main

main()
