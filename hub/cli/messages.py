"""The groups ``hub messages`` and ``hub ask``; most of their commands are declared."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.declared import item_called
from hub.cli.formats import counts, short
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

BROADCASTS: Final = "/v1/broadcasts"
SEARCHED: Final = 100  # newest broadcasts that are searched for the end of an id
PAGE: Final = 500  # results in one response


@click.group(cls=ListByDefault, epilog=example("hub messages ls --agent notes"))
def messages() -> None:
    """List messages between agents; send, cancel and retry them."""


@messages.command("broadcast-show", epilog=example("hub messages broadcast-show 4e21a9 --failed"))
@click.argument("broadcast")
@click.option("--failed", is_flag=True, help="Only boards whose lead has not received it.")
@hub_option
@json_option
def show_broadcast(broadcast: str, failed: bool, state: Path, as_json: bool) -> None:
    """Show BROADCAST and its result at each board."""
    with talk(state) as hub:
        found = item_called(hub.get(BROADCASTS, limit=SEARCHED)["broadcasts"], broadcast)
        path = f"{BROADCASTS}/{quote(found['id'] if found else broadcast, safe='')}"
        response = hub.get(path, limit=PAGE)
        results, cursor = list(response["results"]), response["next_cursor"]
        while cursor:
            page = hub.get(path, limit=PAGE, cursor=cursor)
            results, cursor = [*results, *page["results"]], page["next_cursor"]
    response |= {"results": [one for one in results if not (failed and one["ok"])], "next_cursor": None}
    if as_json:
        show.print_json("broadcast", response)
        return
    show.print_facts(
        {
            "broadcast": response["id"],
            "kind": response["kind"],
            "from": response["sent_by"],
            "created": show.moment(response["created_at"]),
            "sent": f"{response['rounds']} times" if response["rounds"] > 1 else None,
            "settled": show.moment(response["settled_at"]),
            "correlation id": response["correlation_id"],
        }
    )
    show.quote(response["content"])
    show.out()
    show.print_table(
        ("board", "lead", "gateway", "state", "reason"),
        (
            (one["board"], one["lead"], one["gateway"], one["state"], short(one["error"]))
            for one in response["results"]
        ),
    )
    show.report(counts(response))


class _AskOrList(ListByDefault):
    """Group in which no command means ``ls``, and words that are no command mean ``user``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["user", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_AskOrList, epilog=example("hub ask answer 4e21a9 'Friday, 10:00'"))
def ask() -> None:
    """List questions of agents to people; ask, answer and withdraw them.

    BOARD and TEXT instead of a command ask: hub ask roadmap Which colour is the door to be?
    """
