"""Commands on boards: list, show, create, change; their agents and leads."""

import click

from hub.cli.options import ListByDefault, example
from hub.cli.souls import soul, soul_history


@click.group(cls=ListByDefault, epilog=example("hub boards show house"))
def boards() -> None:
    """List, show, create and change boards, on which agents work together."""


boards.add_command(soul)
boards.add_command(soul_history)
