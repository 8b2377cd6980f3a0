"""Commands on leads of boards: seen to, spoken to one by one, or many at once."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import board_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.printable import one_line

PATH: Final = "/v1/broadcasts"
WHOLE_ID: Final = 36  # characters
LOOKED_AT: Final = 100  # the newest broadcasts, for the end of an id
PAGE: Final = 500  # results in one answer
_broadcast = click.argument("broadcast")
_handoff = click.option("--handoff", is_flag=True, help="Work is handed over; else it is a question.")
_correlation = click.option("--correlation-id", metavar="WORD", help="A word of yours, to find it by.")
_failed = click.option("--failed", is_flag=True, help="Only the boards whose lead has not got it.")


def _wait(most: str, default: float) -> Callable[[Any], Any]:
    return click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(0, 120),
        default=default,
        show_default=True,
        help=f"Seconds to wait for {most}.",
    )


@click.command("ensure-lead", epilog=example("hub boards ensure-lead house --wait 30"))
@click.argument("board", shell_complete=board_names)
@_wait("the lead to be ready", 30.0)
@hub_option
@json_option
def ensure_lead(board: str, wait_s: float, state: Path, as_json: bool) -> None:
    """Make sure that BOARD has a lead; one is created at its gateway if needed."""
    with talk(state) as hub:
        told = hub.post(f"/v1/boards/{quote(board, safe='')}/lead/ensure?wait_s={wait_s:g}")
    if as_json:
        show.print_json("lead", told)
        return
    came = "was made to lead" if told["lead_created"] else "leads"
    show.say(f"{told['agent']} {came} board {told['board']}")
    if told["state"] != "ready":
        why = f": {told['problem']}" if told["problem"] else ""
        show.say(f"it is {told['state']} at gateway {told['gateway']}{why}; the hub goes on with it")


@click.command("lead", epilog=example("hub messages lead house 'Report by noon.'"))
@click.argument("board", shell_complete=board_names)
@click.argument("text", nargs=-1, required=True)
@_handoff
@_correlation
@_wait("its delivery", 10.0)
@hub_option
@json_option
def message_lead(
    board: str,
    text: tuple[str, ...],
    handoff: bool,
    correlation_id: str | None,
    wait_s: float,
    state: Path,
    as_json: bool,
) -> None:
    """Send TEXT to the lead of BOARD, which is created if needed. TEXT of - is read from standard input."""
    path = f"/v1/boards/{quote(board, safe='')}/lead/message?wait_s={wait_s:g}"
    with talk(state) as hub:
        told = hub.post(path, _body(text, handoff, correlation_id))
    if as_json:
        show.print_json("message", told)
        return
    message = told["message"]
    who = told["lead_agent_name"] or f"the lead of {told['board']}"
    match message["state"]:
        case "answered":
            show.say(f"answered: {message['answer']}")
        case "consumed":
            show.say(f"{who} has it: {message['id']}")
        case how:
            why = f": {message['waiting_for']}" if message["waiting_for"] else ""
            show.say(f"{how}{why}; it is brought as soon as that can be done: {message['id']}")


@click.command("broadcast", epilog=example("hub messages broadcast 'Report by noon.' --board house"))
@click.argument("text", nargs=-1, required=True)
@click.option("--board", "boards", metavar="NAME", multiple=True, help="Only to this one; several times.")
@_handoff
@_correlation
@_wait("all to have it", 10.0)
@hub_option
@json_option
def send_broadcast(
    text: tuple[str, ...],
    boards: tuple[str, ...],
    handoff: bool,
    correlation_id: str | None,
    wait_s: float,
    state: Path,
    as_json: bool,
) -> None:
    """Send TEXT to the leads of all boards, or of some. TEXT of - is read from standard input.

    What cannot be brought now is brought later; broadcast-show says how it stands.
    """
    body = _body(text, handoff, correlation_id) | ({"boards": boards} if boards else {})
    with talk(state) as hub:
        _tell(hub.post(f"{PATH}?wait_s={wait_s:g}", body), as_json=as_json)


@click.command("broadcasts", epilog=example("hub messages broadcasts"))
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@hub_option
@json_option
def list_broadcasts(limit: int, state: Path, as_json: bool) -> None:
    """List broadcasts, the newest first."""
    with talk(state) as hub:
        told = hub.get(PATH, limit=limit)
    if as_json:
        show.print_json("broadcasts", told)
        return
    show.print_table(
        ("broadcast", show.in_zone("said"), "from", "how it stands", "says"),
        (
            (
                show.short_id(one["id"]),
                show.short_moment(one["created_at"]),
                one["sent_by"],
                _counts(one),
                _short(one["content"]),
            )
            for one in told["broadcasts"]
        ),
    )
    if not told["broadcasts"]:
        show.say("there are no broadcasts")


@click.command("broadcast-show", epilog=example("hub messages broadcast-show 4e21a9 --failed"))
@_broadcast
@_failed
@hub_option
@json_option
def show_broadcast(broadcast: str, failed: bool, state: Path, as_json: bool) -> None:
    """Show BROADCAST and its result at each board."""
    with talk(state) as hub:
        path = _path(_found(hub, broadcast))
        told = hub.get(path, limit=PAGE)
        results, cursor = list(told["results"]), told["next_cursor"]
        while cursor:
            page = hub.get(path, limit=PAGE, cursor=cursor)
            results, cursor = [*results, *page["results"]], page["next_cursor"]
    told |= {"results": [one for one in results if not (failed and one["ok"])], "next_cursor": None}
    if as_json:
        show.print_json("broadcast", told)
        return
    show.print_facts(
        {
            "broadcast": told["id"],
            "kind": told["kind"],
            "from": told["sent_by"],
            "said": show.moment(told["created_at"]),
            "sent": f"{told['rounds']} times" if told["rounds"] > 1 else None,
            "settled": show.moment(told["settled_at"]) if told["settled_at"] else None,
            "correlation id": told["correlation_id"],
        }
    )
    show.quote(told["content"])
    show.out()
    show.print_table(
        ("board", "lead", "gateway", "state", "why"),
        (
            (one["board"], one["lead"], one["gateway"], one["state"], _short(one["error"] or ""))
            for one in told["results"]
        ),
    )
    show.say(_counts(told))


@click.command("resume", epilog=example("hub messages resume 4e21a9"))
@_broadcast
@_wait("all to have it", 10.0)
@hub_option
@json_option
def resume_broadcast(broadcast: str, wait_s: float, state: Path, as_json: bool) -> None:
    """Send BROADCAST again to the leads that have not received it."""
    with talk(state) as hub:
        told = hub.post(f"{_path(_found(hub, broadcast))}/resume?wait_s={wait_s:g}")
        _tell(told, as_json=as_json)


def _tell(told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.print_json("broadcast", told)
        return
    show.say(f"{_counts(told)}: {told['id']}")
    for one in told["results"]:
        if one["error"]:
            show.say(f"  {one['board'] or one['board_id']}: {_short(one['error'])}")
    if told["failed"]:
        sys.exit(Exit.FAILED)


def _counts(told: Mapping[str, Any]) -> str:
    parts = [f"{told['sent']} of {told['boards']} leads have it"]
    parts += [f"{told['failed']} failed"] if told["failed"] else []
    parts += [f"{told['waiting']} wait"] if told["waiting"] else []
    return ", ".join(parts)


def _body(text: tuple[str, ...], handoff: bool, correlation_id: str | None) -> dict[str, object]:
    words = " ".join(text)
    content = sys.stdin.read() if words == "-" else words
    body: dict[str, object] = {"content": content, "kind": "handoff" if handoff else "question"}
    return body if correlation_id is None else body | {"correlation_id": correlation_id}


def _found(hub: Talk, given: str) -> str:
    """The id of the broadcast whose id ends so: ids of one time begin alike."""
    if len(given) >= WHOLE_ID:
        return given
    known = [one["id"] for one in hub.get(PATH, limit=LOOKED_AT)["broadcasts"] if one["id"].endswith(given)]
    if len(known) > 1:
        raise Failure(f"several broadcasts end in {given!r}", Exit.USAGE, next_step="write more of its id")
    return known[0] if known else given


def _short(words: str) -> str:
    line = one_line(words)
    return line if len(line) <= 80 else f"{line[:77]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
