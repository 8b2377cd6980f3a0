"""Commands on the memory of a board: list, add, remove."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import board_names
from hub.cli.options import ListOfOne, example, hub_option, json_option
from hub.cli.talk import talk

_NAME: Final = "hub.board"  # key of ctx.meta: the board whose memory is meant
_LISTED: Final = 20
_CUT: Final = 100  # characters of an item in a table


@click.group("memory", cls=ListOfOne, epilog=example("hub boards memory house"))
@click.argument("name", shell_complete=board_names)
@click.pass_context
def memory(ctx: click.Context, name: str) -> None:
    """List, add and remove the memory of board NAME."""
    ctx.meta[_NAME] = name


@memory.command("ls", epilog=example("hub boards memory house ls --tag lead_reply"))
@click.option(
    "--tag", "tags", multiple=True, help="Only items with this tag; with several, items that have all."
)
@click.option("--chat/--no-chat", default=None, help="Only chat, or only items that are not chat.")
@click.option("--source", metavar="TEXT", help="Only items from this source.")
@click.option("--correlation-id", metavar="TEXT", help="Only items with this correlation id.")
@click.option("--reply-to", metavar="ID", help="Only replies to this message or question.")
@click.option("-n", "--last", default=_LISTED, show_default=True, type=click.IntRange(1, 100))
@hub_option
@json_option
@click.pass_context
def list_memory(
    ctx: click.Context,
    tags: tuple[str, ...],
    chat: bool | None,
    source: str | None,
    correlation_id: str | None,
    reply_to: str | None,
    last: int,
    state: Path,
    as_json: bool,
) -> None:
    """List the memory, the newest first."""
    with talk(state) as hub:
        response = hub.get(
            _path(ctx),
            tag=tags or None,
            is_chat=None if chat is None else str(chat).lower(),
            source=source,
            correlation_id=correlation_id,
            reply_to=reply_to,
            limit=last,
        )
    if as_json:
        show.print_json("memory", response)
        return
    show.print_table(
        (show.in_zone("written"), "id", "by", "tags", "text"),
        (
            (
                show.short_moment(one["created_at"]),
                show.short_id(one["id"]),
                one["agent"] or one["actor"],
                ", ".join((*one["tags"], *(("chat",) if one["is_chat"] else ()))),
                _cut(one["content"]),
            )
            for one in response["memory"]
        ),
    )
    if not response["memory"]:
        show.say(f"board {ctx.meta[_NAME]} has no matching memory")


@memory.command("add", epilog=example("hub boards memory house add 'The invoices are done.'"))
@click.argument("content")
@click.option("--tag", "tags", multiple=True, help="Tag of the item; may be given several times.")
@click.option("--chat", is_flag=True, help="Mark the item as chat, not as lasting memory.")
@click.option("--source", metavar="TEXT", help="Source of the item.")
@click.option("--correlation-id", metavar="TEXT", help="Your own reference, to find the item by.")
@click.option("--reply-to", metavar="ID", help="Message or question that the item answers.")
@hub_option
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    content: str,
    tags: tuple[str, ...],
    chat: bool,
    source: str | None,
    correlation_id: str | None,
    reply_to: str | None,
    state: Path,
    as_json: bool,
) -> None:
    """Add CONTENT to the memory."""
    body = {
        "content": content,
        "tags": tags,
        "is_chat": chat,
        "source": source,
        "correlation_id": correlation_id,
        "reply_to": reply_to,
    }
    with talk(state) as hub:
        response = hub.post(_path(ctx), body)
    if as_json:
        show.print_json("memory_item", response)
        return
    show.say(f"added to the memory of board {ctx.meta[_NAME]}")
    for noun in ("message", "question"):
        if (id := response[f"answered_{noun}"]) is not None:
            show.say(f"it answers {noun} {show.short_id(id)}")


@memory.command("rm", epilog=example("hub boards memory house rm 019d2f45-daf6-7e31-94bf-446f3398b18f"))
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
@click.pass_context
def remove(ctx: click.Context, id: str, yes: bool, state: Path, as_json: bool) -> None:
    """Remove the memory item ID, as --json prints it."""
    if not yes:
        show.confirm(f"remove {id} from the memory of board {ctx.meta[_NAME]}?")
    with talk(state) as hub:
        response = hub.delete(f"{_path(ctx)}/{quote(id, safe='')}")
    if as_json:
        show.print_json("memory_item", response)
    else:
        show.say(f"removed from the memory of board {ctx.meta[_NAME]}")


def _path(ctx: click.Context) -> str:
    return f"/v1/boards/{quote(ctx.meta[_NAME], safe='')}/memory"


def _cut(content: str) -> str:
    """Return the beginning of an item's text, on one line."""
    line = " ".join(content.split())
    return line if len(line) <= _CUT else f"{line[: _CUT - 3]}..."
