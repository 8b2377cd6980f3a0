"""Commands on the leads of boards: ensure a lead, message one lead, broadcast to many."""

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
SEARCHED: Final = 100  # newest broadcasts that are searched for the end of an id
PAGE: Final = 500  # results in one answer
_broadcast = click.argument("broadcast")
_handoff = click.option("--handoff", is_flag=True, help="Send a handoff of work instead of a question.")
_correlation = click.option(
    "--correlation-id", metavar="WORD", help="Your own reference, to find the message by."
)
_failed = click.option("--failed", is_flag=True, help="Only boards whose lead has not received it.")


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
        response = hub.post(f"/v1/boards/{quote(board, safe='')}/lead/ensure?wait_s={wait_s:g}")
    if as_json:
        show.print_json("lead", response)
        return
    verb = "was created to lead" if response["lead_created"] else "leads"
    show.say(f"{response['agent']} {verb} board {response['board']}")
    if response["state"] != "ready":
        why = f": {response['problem']}" if response["problem"] else ""
        show.say(f"it is {response['state']} at gateway {response['gateway']}{why}; the hub keeps trying")


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
        response = hub.post(path, _body(text, handoff, correlation_id))
    if as_json:
        show.print_json("message", response)
        return
    message = response["message"]
    who = response["lead_agent_name"] or f"the lead of {response['board']}"
    match message["state"]:
        case "answered":
            show.say(f"answered: {message['answer']}")
        case "consumed":
            show.say(f"{who} received it: {message['id']}")
        case how:
            why = f": {message['waiting_for']}" if message["waiting_for"] else ""
            show.say(f"{how}{why}; the hub delivers it as soon as possible: {message['id']}")


@click.command("broadcast", epilog=example("hub messages broadcast 'Report by noon.' --board house"))
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--board",
    "boards",
    metavar="NAME",
    multiple=True,
    help="Only to this board; may be given several times.",
)
@_handoff
@_correlation
@_wait("all leads to receive it", 10.0)
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

    Messages that cannot be delivered now are delivered later: see hub messages broadcast-show.
    """
    body = _body(text, handoff, correlation_id) | ({"boards": boards} if boards else {})
    with talk(state) as hub:
        _print_result(hub.post(f"{PATH}?wait_s={wait_s:g}", body), as_json=as_json)


@click.command("broadcasts", epilog=example("hub messages broadcasts"))
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@hub_option
@json_option
def list_broadcasts(limit: int, state: Path, as_json: bool) -> None:
    """List broadcasts, the newest first."""
    with talk(state) as hub:
        response = hub.get(PATH, limit=limit)
    if as_json:
        show.print_json("broadcasts", response)
        return
    show.print_table(
        ("broadcast", show.in_zone("sent"), "from", "result", "text"),
        (
            (
                show.short_id(one["id"]),
                show.short_moment(one["created_at"]),
                one["sent_by"],
                _counts(one),
                _short(one["content"]),
            )
            for one in response["broadcasts"]
        ),
    )
    if not response["broadcasts"]:
        show.say("no broadcasts")


@click.command("broadcast-show", epilog=example("hub messages broadcast-show 4e21a9 --failed"))
@_broadcast
@_failed
@hub_option
@json_option
def show_broadcast(broadcast: str, failed: bool, state: Path, as_json: bool) -> None:
    """Show BROADCAST and its result at each board."""
    with talk(state) as hub:
        path = _path(_found(hub, broadcast))
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
            "settled": show.moment(response["settled_at"]) if response["settled_at"] else None,
            "correlation id": response["correlation_id"],
        }
    )
    show.quote(response["content"])
    show.out()
    show.print_table(
        ("board", "lead", "gateway", "state", "reason"),
        (
            (one["board"], one["lead"], one["gateway"], one["state"], _short(one["error"] or ""))
            for one in response["results"]
        ),
    )
    show.say(_counts(response))


@click.command("resume", epilog=example("hub messages resume 4e21a9"))
@_broadcast
@_wait("all leads to receive it", 10.0)
@hub_option
@json_option
def resume_broadcast(broadcast: str, wait_s: float, state: Path, as_json: bool) -> None:
    """Send BROADCAST again to the leads that have not received it."""
    with talk(state) as hub:
        response = hub.post(f"{_path(_found(hub, broadcast))}/resume?wait_s={wait_s:g}")
        _print_result(response, as_json=as_json)


def _print_result(response: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.print_json("broadcast", response)
        return
    show.say(f"{_counts(response)}: {response['id']}")
    for one in response["results"]:
        if one["error"]:
            show.say(f"  {one['board'] or one['board_id']}: {_short(one['error'])}")
    if response["failed"]:
        sys.exit(Exit.FAILED)


def _counts(response: Mapping[str, Any]) -> str:
    parts = [f"{response['sent']} of {response['boards']} leads received it"]
    parts += [f"{response['failed']} failed"] if response["failed"] else []
    parts += [f"{response['waiting']} waiting"] if response["waiting"] else []
    return ", ".join(parts)


def _body(text: tuple[str, ...], handoff: bool, correlation_id: str | None) -> dict[str, object]:
    words = " ".join(text)
    content = sys.stdin.read() if words == "-" else words
    body: dict[str, object] = {"content": content, "kind": "handoff" if handoff else "question"}
    return body if correlation_id is None else body | {"correlation_id": correlation_id}


def _found(hub: Talk, ending: str) -> str:
    """Return the id of the broadcast that ends in *ending*, because ids of one time begin alike."""
    if len(ending) >= WHOLE_ID:
        return ending
    known = [one["id"] for one in hub.get(PATH, limit=SEARCHED)["broadcasts"] if one["id"].endswith(ending)]
    if len(known) > 1:
        raise Failure(
            f"several broadcasts end in {ending!r}", Exit.USAGE, next_step="type more characters of the id"
        )
    return known[0] if known else ending


def _short(words: str) -> str:
    line = one_line(words)
    return line if len(line) <= 80 else f"{line[:77]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
