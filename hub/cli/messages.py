"""Commands on messages between agents: said, looked at, taken back, tried again."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.broadcasts import (
    list_broadcasts,
    message_lead,
    resume_broadcast,
    send_broadcast,
    show_broadcast,
)
from hub.cli.completion import agent_names, board_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.printable import one_line
from protocol.messages import QueueMode

PATH: Final = "/v1/messages"
STATES: Final = (
    "waiting",
    "sent",
    "accepted",
    "queued",
    "consumed",
    "answered",
    "interrupted",
    "failed",
    "expired",
)
WHOLE_ID: Final = 36  # characters
LOOKED_AT: Final = 100  # the newest messages, for the end of an id
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_message = click.argument("message")


@click.group(cls=ListByDefault, epilog=example("hub messages ls --agent notes"))
def messages() -> None:
    """List messages between agents; send, cancel and retry them."""


@messages.command("ls", epilog=example("hub messages ls --board house"))
@click.option("--board", metavar="NAME", help="Only of this board.")
@click.option("--agent", metavar="NAME", help="Only those that this agent sent or is to get.")
@click.option("--only", "states", type=click.Choice(STATES), multiple=True, help="Only in this state.")
@click.option("--correlation-id", metavar="WORD", help="Only those that were sent with this word.")
@click.option("--broadcast", metavar="ID", help="Only of this broadcast.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@hub_option
@json_option
def list_messages(
    board: str | None,
    agent: str | None,
    states: tuple[str, ...],
    correlation_id: str | None,
    broadcast: str | None,
    limit: int,
    state: Path,
    as_json: bool,
) -> None:
    """List messages, the newest first."""
    with talk(state) as hub:
        told = hub.get(
            PATH,
            board=board,
            agent=agent,
            state=states or None,
            correlation_id=correlation_id,
            broadcast_id=broadcast,
            limit=limit,
        )
    if as_json:
        show.print_json("messages", told)
        return
    show.print_table(
        ("message", show.in_zone("said"), "kind", "state", "from > to", "says"),
        (
            (
                show.short_id(one["id"]),
                show.short_moment(one["created_at"]),
                one["kind"],
                one["state"],
                f"{one['sent_by']} > {_to(one)}",
                _short(one["content"]),
            )
            for one in told["messages"]
        ),
    )
    if not told["messages"]:
        show.say("there are no messages")


@messages.command("show", epilog=example("hub messages show 4e21a9"))
@_message
@hub_option
@json_option
def show_message(message: str, state: Path, as_json: bool) -> None:
    """Show MESSAGE with its history and the proofs of delivery.

    \b
    waiting      nothing of it has left yet
    sent         it may have left
    accepted     its gateway says that it has it
    queued       its agent has something else to do first
    consumed     its agent has it
    answered     its agent has answered
    interrupted  it was dropped before its agent had it; it is sent anew
    failed       it could not be brought, or was taken back
    expired      its time was over before its agent had it
    """
    with talk(state) as hub:
        told = hub.get(_path(_found(hub, message)))
    if as_json:
        show.print_json("message", told)
        return
    show.print_facts(
        {
            "message": told["id"],
            "state": told["state"],
            "why": told["reason"] or told["waiting_for"],
            "kind": told["kind"],
            "board": told["board"],
            "from": told["sent_by"],
            "to": _to(told),
            "over": told["gateway"] or told["device"],
            "said": show.moment(told["created_at"]),
            "looked at again": show.moment(told["next_look_at"]) if told["next_look_at"] else None,
            "brought until": None if told["settled_at"] else show.moment(told["expires_at"]),
            "settled": show.moment(told["settled_at"]) if told["settled_at"] else None,
            "correlation id": told["correlation_id"],
            "key": told["key"],
        }
    )
    show.quote(told["content"])
    if told["answer"]:
        show.quote(told["answer"], mark="->")
    show.out()
    show.print_table(
        (show.in_zone("when"), "state", "attempt", "proof"),
        (
            (show.short_moment(move["at"], seconds=True), move["new_state"], move["attempt"], _proof(move))
            for move in told["moves"]
        ),
    )


@messages.command("nudge", epilog=example("hub messages nudge house notes 'Please report.'"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--queue-mode",
    type=click.Choice([str(mode) for mode in QueueMode]),
    help="How it is taken while the agent is busy [default: as its gateway is set].",
)
@click.option("--no-deliver", is_flag=True, help="Its answer does not go on to its own channel.")
@click.option("--correlation-id", metavar="WORD", help="A word of yours, to find it by.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 120),
    default=10.0,
    show_default=True,
    help="Seconds to wait for its delivery.",
)
@hub_option
@json_option
def nudge(
    board: str,
    agent: str,
    text: tuple[str, ...],
    queue_mode: str | None,
    no_deliver: bool,
    correlation_id: str | None,
    wait_s: float,
    state: Path,
    as_json: bool,
) -> None:
    """Send TEXT to AGENT of BOARD. TEXT of - is read from standard input.

    It is kept, and brought as soon as that can be done.
    """
    about = {"queue_mode": queue_mode, "correlation_id": correlation_id}
    body: dict[str, object] = {"content": _words(text), "deliver": not no_deliver}
    body |= {name: value for name, value in about.items() if value is not None}
    path = f"/v1/boards/{quote(board, safe='')}/agents/{quote(agent, safe='')}/nudge?wait_s={wait_s:g}"
    with talk(state) as hub:
        told = hub.post(path, body)
    if as_json:
        show.print_json("message", told)
    else:
        show.say(_standing(told))


messages.add_command(message_lead)
messages.add_command(send_broadcast)
messages.add_command(list_broadcasts)
messages.add_command(show_broadcast)
messages.add_command(resume_broadcast)


@messages.command("cancel", epilog=example("hub messages cancel 4e21a9"))
@_message
@hub_option
@json_option
def cancel(message: str, state: Path, as_json: bool) -> None:
    """Cancel MESSAGE before it is delivered. A message that was sent cannot be recalled."""
    with talk(state) as hub:
        told = hub.post(f"{_path(_found(hub, message))}/cancel")
    if as_json:
        show.print_json("message", told)
    else:
        show.say(f"{told['reason']}: {_short(told['content'])}")


@messages.command("retry", epilog=example("hub messages retry 4e21a9"))
@_message
@hub_option
@json_option
def retry(message: str, state: Path, as_json: bool) -> None:
    """Retry MESSAGE now if it waits; send it anew if it failed or expired."""
    with talk(state) as hub:
        told = hub.post(f"{_path(_found(hub, message))}/retry")
    if as_json:
        show.print_json("message", told)
    else:
        show.say(_standing(told))


def _standing(told: Mapping[str, Any]) -> str:
    """``delivered: 4e21...``, and what the agent said."""
    match told["state"]:
        case "answered":
            return f"answered: {told['answer']}"
        case "consumed":
            return f"{_to(told)} has it: {told['id']}"
        case state:
            why = f": {told['waiting_for']}" if told["waiting_for"] else ""
            return f"{state}{why}; it is brought as soon as that can be done: {told['id']}"


def _to(told: Mapping[str, Any]) -> str:
    lead = f"the lead of {told['board']}" if told["board"] else "a lead"
    return str(told["agent"] or (lead if told["to_lead"] else ""))


def _proof(move: Mapping[str, Any]) -> str:
    """What shows it, in words; all of it, and the letter itself, is in ``--json``."""
    words = _spelled({name: value for name, value in move["proof"].items() if name != "letter"})
    return _short("; ".join(part for part in (move["reason"] or "", words) if part), 160)


def _spelled(proof: Mapping[str, Any]) -> str:
    """``history: role user, id 3f2a; boot b7``: what says nothing is left out, ids are cut as elsewhere."""
    told = []
    for name, value in proof.items():
        if isinstance(value, Mapping):
            inner = _spelled(value).replace(";", ",")
            told += [f"{name}: {inner}"] if inner else []
        elif value is not None and value is not False and not name.endswith("_ms"):
            words = str(value)
            told.append(f"{name} {show.short_id(words) if _UUID.fullmatch(words) else words}")
    return "; ".join(told)


def _found(hub: Talk, given: str) -> str:
    """The id of the message whose id ends so: ids of one time begin alike."""
    if len(given) >= WHOLE_ID:
        return given
    known = [one["id"] for one in hub.get(PATH, limit=LOOKED_AT)["messages"] if one["id"].endswith(given)]
    if len(known) > 1:
        raise Failure(f"several messages end in {given!r}", Exit.USAGE, next_step="write more of its id")
    return known[0] if known else given


def _words(text: tuple[str, ...]) -> str:
    words = " ".join(text)
    return sys.stdin.read() if words == "-" else words


def _short(content: str, most: int = 60) -> str:
    line = one_line(content)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
