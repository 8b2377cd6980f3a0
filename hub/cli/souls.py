"""Commands on the souls of a board's agents: read, written over what was read, and how they came about."""

import difflib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names, board_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk

_SHORT: Final = 12  # characters of a hash that tell it from others


@click.command("soul", epilog=example("hub boards soul house notes"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.option("--write", "file", type=click.File("r", encoding="utf-8"), help="Write FILE there; - is stdin.")
@click.option(
    "--expected", metavar="HASH", help="Only over the text with this SHA-256; '' where there is none."
)
@click.option("--reason", help="Why, for whoever reads the history.")
@click.option("--source-url", metavar="URL", help="Where the text is from.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 25), default=10.0, show_default=True, help="Seconds."
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

    It is read and written where the agent lives. Without --expected the text that is there is
    replaced, whatever it says.
    """
    path = _path(board, agent)
    if file is None:
        with talk(state) as hub:
            told = hub.get(path)
        if as_json:
            show.print_json("soul", told)
        elif told["sha256"] is None:
            show.say(f"{agent} has no SOUL.md yet")
        else:
            show.out(told["content"].removesuffix("\n"))
            show.say(f"sha256 {told['sha256']}, on {_where(told)}")
        return
    body = {"content": file.read(), "reason": reason, "source_url": source_url}
    if expected is not None:
        body["expected_sha256"] = expected
    with talk(state) as hub:
        told = hub.put(f"{path}?wait_s={wait_s}", body)
    if as_json:
        show.print_json("soul_write", told)
    elif told["state"] == "waiting":
        show.say(f"kept, and written as soon as that can be done: {told['problem'] or 'it is under way'}")
    else:
        show.say(f"written: sha256 {told['sha256']}")


@click.command("soul-history", epilog=example("hub boards soul-history house notes 3 --diff 2"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.argument("seq", type=click.IntRange(min=1), required=False)
@click.option("--diff", "other", type=click.IntRange(min=1), metavar="SEQ", help="What SEQ has otherwise.")
@hub_option
@json_option
def soul_history(
    board: str, agent: str, seq: int | None, other: int | None, state: Path, as_json: bool
) -> None:
    """List the versions of the SOUL.md of AGENT with their authors; with SEQ, print one.

    seen: somebody else had written it. refused: it was never there, and is kept so that it is not lost.
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
            told = hub.get_all(path, "versions")
        if as_json:
            show.print_json("soul_versions", told)
        else:
            _print_versions(told["versions"], agent)
        return
    with talk(state) as hub:
        told = hub.get(f"{path}/{seq}")
        newer = None if other is None else hub.get(f"{path}/{other}")
    if newer is not None:
        show.out(_diff(told, newer), end="")
    elif as_json:
        show.print_json("soul_version", told)
    else:
        show.out(told["content"].removesuffix("\n"))


def _print_versions(versions: list[Any], agent: str) -> None:
    show.print_table(
        ("version", "kind", "sha256", "bytes", show.in_zone("at"), "by", "reason"),
        (
            (
                one["seq"],
                one["kind"],
                one["sha256"][:_SHORT],
                one["size_bytes"],
                show.short_moment(one["at"]),
                one["actor"],
                one["reason"] or show.NOTHING,
            )
            for one in versions
        ),
    )
    if not versions:
        show.say(f"no version of the SOUL.md of {agent} is known; the first look makes one")


def _diff(old: Any, new: Any) -> str:
    lines = difflib.unified_diff(
        old["content"].splitlines(keepends=True),
        new["content"].splitlines(keepends=True),
        f"version {old['seq']}",
        f"version {new['seq']}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _where(told: Any) -> str:
    return f"gateway {told['gateway']}" if told["gateway"] else f"device {told['device']}"


def _path(board: str, agent: str) -> str:
    return f"/v1/boards/{quote(board, safe='')}/agents/{quote(agent, safe='')}/soul"
