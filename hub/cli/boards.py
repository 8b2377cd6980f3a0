"""Commands on boards; most are declared. By hand: the SOUL.md of a board's agents."""

import difflib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import agent_names, board_names, talk


@click.group(cls=ListByDefault, epilog=example("hub boards show house"))
def boards() -> None:
    """List, show, create and change boards, on which agents work together."""


_HASH_SHOWN: Final = 12  # characters of a hash in a table


@boards.command("soul", epilog=example("hub boards soul house notes"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.option(
    "--write",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="Write this file as SOUL.md; - is standard input.",
)
@click.option(
    "--expected", metavar="HASH", help="Write only if the present text has this SHA-256; '' for no text."
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
@hub_option
@json_option
def soul(
    board: str,
    agent: str,
    file: Any,
    expected: str | None,
    reason: str | None,
    source_url: str | None,
    wait_s: float,
    state: Path,
    as_json: bool,
) -> None:
    """Print the SOUL.md of AGENT on BOARD, or write it.

    Reads and writes the file at the gateway or device of the agent. Without --expected, replaces
    any present text.
    """
    path = _path(board, agent)
    if file is None:
        with talk(state) as hub:
            response = hub.get(path)
        if as_json:
            show.print_json("soul", response)
        elif response["sha256"] is None:
            show.report(f"{agent} has no SOUL.md yet")
        else:
            show.out(response["content"].removesuffix("\n"))
            show.report(f"sha256 {response['sha256']}, on {_where(response)}")
        return
    body = {"content": file.read(), "reason": reason, "source_url": source_url}
    if expected is not None:
        body["expected_sha256"] = expected
    with talk(state) as hub:
        response = hub.put(f"{path}?wait_s={wait_s}", body)
    if as_json:
        show.print_json("soul_write", response)
    elif response["state"] == "waiting":
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
@hub_option
@json_option
def soul_history(
    board: str, agent: str, seq: int | None, other: int | None, state: Path, as_json: bool
) -> None:
    """List the versions of the SOUL.md of AGENT with their authors; with SEQ, print one.

    Kind seen: written by another program. Kind refused: never written, but stored so that it is not lost.
    """
    path = f"{_path(board, agent)}/history"
    if seq is None:
        if other is not None:
            raise Failure(
                "--diff needs two versions",
                Exit.USAGE,
                next_step="hub boards soul-history BOARD AGENT 3 --diff 4",
            )
        with talk(state) as hub:
            response = hub.get_all(path, "versions")
        if as_json:
            show.print_json("soul_versions", response)
        else:
            _print_versions(response["versions"], agent)
        return
    with talk(state) as hub:
        response = hub.get(f"{path}/{seq}")
        newer = None if other is None else hub.get(f"{path}/{other}")
    if newer is not None:
        show.out(_diff(response, newer), end="")
    elif as_json:
        show.print_json("soul_version", response)
    else:
        show.out(response["content"].removesuffix("\n"))


def _print_versions(versions: list[Any], agent: str) -> None:
    show.print_table(
        ("version", "kind", "sha256", "bytes", show.in_zone("at"), "by", "reason"),
        (
            (
                one["seq"],
                one["kind"],
                one["sha256"][:_HASH_SHOWN],
                one["size_bytes"],
                show.short_moment(one["at"]),
                one["actor"],
                one["reason"] or show.NOTHING,
            )
            for one in versions
        ),
    )
    if not versions:
        show.report(f"no versions of the SOUL.md of {agent}; reading it stores the first: hub boards soul")


def _diff(old: Any, new: Any) -> str:
    lines = difflib.unified_diff(
        old["content"].splitlines(keepends=True),
        new["content"].splitlines(keepends=True),
        f"version {old['seq']}",
        f"version {new['seq']}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _where(response: Any) -> str:
    return f"gateway {response['gateway']}" if response["gateway"] else f"device {response['device']}"


def _path(board: str, agent: str) -> str:
    return f"/v1/boards/{quote(board, safe='')}/agents/{quote(agent, safe='')}/soul"
