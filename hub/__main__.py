"""``python -m hub``."""

from hub.cli.app import main

main()
