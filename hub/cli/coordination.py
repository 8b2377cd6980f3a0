"""Commands ``hub boards``, ``hub messages`` and ``hub ask``."""

import difflib
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.declared import present
from hub.cli.errors import CommandError, Exit
from hub.cli.hub_client import HubClient, Responses, agent_names, board_names, hub_command, path_of
from hub.cli.options import NAME, FilePathParam, ListByDefault, example, text_in

BROADCASTS: Final = "/v1/broadcasts"
PAGE: Final = 500  # results in one response


@click.group(cls=ListByDefault, epilog=example("hub boards show house"))
def boards() -> None:
    """List, show, create and change boards, on which agents work together."""


@boards.command("soul", epilog=example("hub boards soul house notes"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.option(
    "--write",
    "file",
    type=FilePathParam(exists=True, dir_okay=False, allow_dash=True),
    help="Write this file as SOUL.md; - is standard input.",
)
@click.option(
    "--expected",
    type=click.UNPROCESSED,
    metavar="HASH",
    help="Write only if the present text has this SHA-256; '' for no text.",
)
@click.option("--reason", help="Reason, for the history.")
@click.option("--source-url", metavar="URL", help="Source of the text.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 25),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the result.",
)
@hub_command
def soul(
    hub: HubClient,
    board: str,
    agent: str,
    file: Path | None,
    expected: str | None,
    reason: str | None,
    source_url: str | None,
    wait_s: float,
) -> Responses:
    """Print the SOUL.md of AGENT on BOARD, or write it.

    Reads and writes the file at the gateway or device of the agent. Without --expected, replaces
    any present text.
    """
    path = path_of("boards", board, "agents", agent, "soul")
    if file is None:
        response = hub.get(path)
        yield "soul", response
        if response["sha256"] is None:
            show.report(f"{agent} has no SOUL.md yet")
        else:
            at = f"gateway {response['gateway']}" if response["gateway"] else f"device {response['device']}"
            show.out(response["content"].removesuffix("\n"))
            show.report(f"sha256 {response['sha256']}, on {at}")
        return
    body = {"content": text_in(file), "reason": reason, "source_url": source_url}
    if expected is not None:
        body["expected_sha256"] = expected
    response = hub.send("PUT", path, {"wait_s": wait_s}, body)
    yield "soul_write", response
    if response["state"] == "waiting":
        show.report(f"stored; the hub writes it as soon as possible: {response['problem'] or 'in progress'}")
    else:
        show.report(f"written: sha256 {response['sha256']}")


@boards.command("soul-history", epilog=example("hub boards soul-history house notes 3 --diff 2"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.argument("seq", type=click.IntRange(min=1), required=False)
@click.option(
    "--diff", "other", type=click.IntRange(min=1), metavar="OTHER", help="Show the changes from SEQ to OTHER."
)
@hub_command
def soul_history(hub: HubClient, board: str, agent: str, seq: int | None, other: int | None) -> Responses:
    """List the versions of the SOUL.md of AGENT with their authors; with SEQ, print one.

    Kind seen: written by another program. Kind refused: never written, but stored so that it is not lost.
    """
    path = path_of("boards", board, "agents", agent, "soul", "history")
    if seq is None and other is not None:
        next_step = "hub boards soul-history BOARD AGENT 3 --diff 4"
        raise CommandError("--diff needs two versions", Exit.USAGE, next_step=next_step)
    if seq is None:
        response = hub.get_all(path, "versions")
        yield "soul_versions", response
        present(
            response,
            rows="versions",
            table=(
                *("seq as version", "kind", "sha256|hash", "size_bytes as bytes"),
                *("at|at", "actor as by", "reason"),
            ),
            empty=f"no versions of the SOUL.md of {agent}; reading it stores the first: hub boards soul",
        )
        return
    response = hub.get(f"{path}/{seq}")
    if other is not None:
        show.out(_diff(response, hub.get(f"{path}/{other}")), end="")
        return
    yield "soul_version", response
    show.out(response["content"].removesuffix("\n"))


def _diff(old: Any, new: Any) -> str:
    lines = difflib.unified_diff(
        old["content"].splitlines(keepends=True),
        new["content"].splitlines(keepends=True),
        f"version {old['seq']}",
        f"version {new['seq']}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@click.group(cls=ListByDefault, epilog=example("hub messages ls --agent notes"))
def messages() -> None:
    """List messages between agents; send, cancel and retry them."""


@messages.command("broadcast-show", epilog=example("hub messages broadcast-show 4e21a9 --failed"))
@click.argument("broadcast", type=NAME)
@click.option("--failed", is_flag=True, help="Only boards whose lead has not received it.")
@hub_command
def show_broadcast(hub: HubClient, broadcast: str, failed: bool) -> Responses:
    """Show BROADCAST and its result at each board."""
    pages = list(hub.pages(path_of("broadcasts", broadcast), limit=PAGE))
    results = [result for page in pages for result in page["results"] if not (failed and result["ok"])]
    response = pages[-1] | {"results": results}
    yield "broadcast", response
    present(
        response,
        facts=(
            *("id as broadcast", "kind", "sent_by as from", "created_at|moment as created"),
            *("*|rounds as sent", "settled_at|moment as settled", "correlation_id"),
        ),
        quotes=("content",),
        rows="results",
        table=("board", "lead", "gateway", "state", "error|short as reason"),
        message="{*|counts}",
    )


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
