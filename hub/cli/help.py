"""``hub help``: the handbook on the terminal. No hub needs to run: the pages are part of the release."""

import sys

import click

from hub import docs
from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import example
from hub.printable import printable


@click.command("help", epilog=example("hub help schedules"))
@click.argument("topic", required=False)
@click.pass_context
def help(ctx: click.Context, topic: str | None) -> None:
    """List the topics of the handbook, or print the page of one."""
    if topic is None:
        _list_topics()
        return
    try:
        text = docs.page(topic)
    except docs.UnknownTopic as unknown:
        group = ctx.find_root().command
        is_command = isinstance(group, click.Group) and topic in group.list_commands(ctx)
        hint = f"{topic} is a command: hub {topic} --help" if is_command else unknown.hint
        raise Failure(str(unknown), Exit.USAGE, next_step=hint) from None
    if sys.stdout.isatty():
        click.echo_via_pager(printable(text))
    else:
        show.out(text, end="")


def _list_topics() -> None:
    width = max(map(len, docs.TOPICS))
    for part, topics in docs.PARTS.items():
        show.out(f"{part}:")
        for topic in topics:
            show.out(f"  {topic.ljust(width)}  {docs.summary(topic)}")
        show.out()
    show.out("Print a page: hub help TOPIC. Help on a command: hub COMMAND --help.")
