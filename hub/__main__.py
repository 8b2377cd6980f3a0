"""Entry point of the program ``hub``, also of ``python -m hub``."""

import sys


def main() -> None:
    """Run the command. An interrupt while its modules are imported ends it with 130, as a later one does."""
    try:
        from hub.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
