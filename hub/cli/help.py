"""Commands ``hub help``, ``hub routes`` and ``hub completion``, without a running hub."""

import sys
from typing import Final

import click
from click.shell_completion import get_completion_class

from hub import docs
from hub.base.printable import printable
from hub.cli import show
from hub.cli.errors import CommandError, Exit
from hub.cli.options import NAME, example, json_option
from hub.docs.search import HandbookSection, search

_MAX_SHOWN: Final = 5


@click.command("help", epilog=example("hub help obsidian"))
@click.argument("words", type=NAME, nargs=-1, metavar="[TOPIC | WORDS]")
@click.pass_context
def help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """List the topics of the handbook, print the page of one, or find words in all pages."""
    if not words:
        _list_topics()
        return
    topic = " ".join(words)
    try:
        text = docs.page(next((of for of in docs.TOPICS if of in (f"{topic}s", f"{topic}es")), topic))
    except docs.UnknownTopic as unknown:
        group = ctx.find_root().command
        is_command = isinstance(group, click.Group) and topic in group.list_commands(ctx)
        if not is_command and (hits := search(topic, _MAX_SHOWN)):
            _list_hits(topic, hits)
            return
        hint = f"{topic} is a command: hub {topic} --help{_pages_with(topic)}" if is_command else unknown.hint
        raise CommandError(str(unknown), Exit.USAGE, next_step=hint) from None
    if sys.stdout.isatty():
        click.echo_via_pager(printable(text))
    else:
        show.out(text, end="")


def _list_hits(text: str, hits: list[tuple[HandbookSection, str]]) -> None:
    show.out(f"No page is called {text!r}. These have it:")
    for section, excerpt in hits:
        show.out(f"\n  hub help {section.topic}: {section.heading}\n    {excerpt}")


def _pages_with(command: str) -> str:
    """Return the pages of the handbook that use a command most, three at most, for the end of a hint."""
    uses = {topic: docs.page(topic).count(f"hub {command} ") for topic in docs.PARTS["How to"]}
    pages = sorted(filter(uses.__getitem__, uses), key=uses.__getitem__, reverse=True)[:3]
    return f"; the handbook uses it in: {', '.join(pages)}" if pages else ""


def _list_topics() -> None:
    width = max(map(len, docs.TOPICS))
    for part, topics in docs.PARTS.items():
        show.out(f"{part}:")
        for topic in topics:
            show.out(f"  {topic.ljust(width)}  {docs.summary(topic)}")
        show.out()
    show.out(
        "Print a page: hub help TOPIC. Find words: hub help WORDS. Help on a command: hub COMMAND --help."
    )


@click.command(epilog=example("hub routes"))
@json_option
def routes(as_json: bool) -> None:
    """List the REST routes with the roles that may use them."""
    from msgspec import to_builtins

    from hub.app.route_table import complete_table
    from hub.base.roles import BY_ALL, IN_NAME_OF_OWNERS, Role

    table = complete_table()
    if as_json:
        show.print_json("routes", to_builtins(table))
        return
    show.print_table(
        ("method", "path", "scope", *Role, "limits", "audit"),
        (
            (
                route.method,
                route.path,
                route.scope,
                *(_may(role in route.roles, is_named=route.scope in IN_NAME_OF_OWNERS) for role in Role),
                "all" if route.limits == BY_ALL else " ".join(route.limits),
                route.audit or "",
            )
            for route in sorted(table.routes, key=lambda route: (route.path, route.method))
        ),
    )
    show.out()
    show.print_table(
        ("request of a device", "object", "audit"),
        ((request.method, request.of, request.audit or "") for request in table.device_requests),
    )


def _may(is_allowed: bool, *, is_named: bool) -> str | bool:
    """Return whether a role may use a route, or that its scope has to be named for a token."""
    return "named" if is_allowed and is_named else is_allowed


_VARIABLE: Final = "_HUB_COMPLETE"


@click.command(epilog=example("hub completion bash"))
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes names in a shell.

    Add eval "$(hub completion bash)" to ~/.bashrc; likewise for zsh. For fish: hub completion fish | source.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    show.out(kind(ctx.find_root().command, {}, "hub", _VARIABLE).source())
