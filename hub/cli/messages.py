"""Commands on messages between agents: list, show, send, cancel, retry."""

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
SEARCHED: Final = 100  # newest messages that are searched for the end of an id
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_message = click.argument("message")


@click.group(cls=ListByDefault, epilog=example("hub messages ls --agent notes"))
def messages() -> None:
    """List messages between agents; send, cancel and retry them."""


@messages.command("ls", epilog=example("hub messages ls --board house"))
@click.option("--board", metavar="NAME", help="Only messages of this board.")
@click.option("--agent", metavar="NAME", help="Only messages from or to this agent.")
@click.option(
    "--only", "states", type=click.Choice(STATES), multiple=True, help="Only messages in this state."
)
@click.option("--correlation-id", metavar="WORD", help="Only messages with this correlation id.")
@click.option("--broadcast", metavar="ID", help="Only messages of this broadcast.")
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
        response = hub.get(
            PATH,
            board=board,
            agent=agent,
            state=states or None,
            correlation_id=correlation_id,
            broadcast_id=broadcast,
            limit=limit,
        )
    if as_json:
        show.print_json("messages", response)
        return
    show.print_table(
        ("message", show.in_zone("sent"), "kind", "state", "from > to", "text"),
        (
            (
                show.short_id(one["id"]),
                show.short_moment(one["created_at"]),
                one["kind"],
                one["state"],
                f"{one['sent_by']} > {_to(one)}",
                _short(one["content"]),
            )
            for one in response["messages"]
        ),
    )
    if not response["messages"]:
        show.say("no messages")


@messages.command("show", epilog=example("hub messages show 4e21a9"))
@_message
@hub_option
@json_option
def show_message(message: str, state: Path, as_json: bool) -> None:
    """Show MESSAGE with its history and the proofs of delivery.

    \b
    waiting      It is not sent yet.
    sent         It may have left; its arrival is not confirmed.
    accepted     The gateway has confirmed it.
    queued       The agent has other work to do first.
    consumed     The agent has received it.
    answered     The agent has answered.
    interrupted  It was dropped before the agent received it; it is sent again.
    failed       It could not be delivered, or was cancelled.
    expired      Its time ran out before the agent received it.
    """
    with talk(state) as hub:
        response = hub.get(_path(_found(hub, message)))
    if as_json:
        show.print_json("message", response)
        return
    show.print_facts(
        {
            "message": response["id"],
            "state": response["state"],
            "reason": response["reason"] or response["waiting_for"],
            "kind": response["kind"],
            "board": response["board"],
            "from": response["sent_by"],
            "to": _to(response),
            "via": response["gateway"] or response["device"],
            "created": show.moment(response["created_at"]),
            "next check": show.moment(response["next_look_at"]) if response["next_look_at"] else None,
            "expires": None if response["settled_at"] else show.moment(response["expires_at"]),
            "settled": show.moment(response["settled_at"]) if response["settled_at"] else None,
            "correlation id": response["correlation_id"],
            "key": response["key"],
        }
    )
    show.quote(response["content"])
    if response["answer"]:
        show.quote(response["answer"], mark="->")
    show.out()
    show.print_table(
        (show.in_zone("at"), "state", "attempt", "proof"),
        (
            (show.short_moment(move["at"], seconds=True), move["new_state"], move["attempt"], _proof(move))
            for move in response["moves"]
        ),
    )


@messages.command("nudge", epilog=example("hub messages nudge house notes 'Please report.'"))
@click.argument("board", shell_complete=board_names)
@click.argument("agent", shell_complete=agent_names)
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--queue-mode",
    type=click.Choice([str(mode) for mode in QueueMode]),
    help="Handling while the agent is busy [default: the setting of its gateway].",
)
@click.option("--no-deliver", is_flag=True, help="Do not deliver the answer to the agent's own channel.")
@click.option("--correlation-id", metavar="WORD", help="Your own reference, to find the message by.")
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

    The hub stores the message and delivers it as soon as possible.
    """
    about = {"queue_mode": queue_mode, "correlation_id": correlation_id}
    body: dict[str, object] = {"content": _words(text), "deliver": not no_deliver}
    body |= {name: value for name, value in about.items() if value is not None}
    path = f"/v1/boards/{quote(board, safe='')}/agents/{quote(agent, safe='')}/nudge?wait_s={wait_s:g}"
    with talk(state) as hub:
        response = hub.post(path, body)
    if as_json:
        show.print_json("message", response)
    else:
        show.say(_result(response))


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
        response = hub.post(f"{_path(_found(hub, message))}/cancel")
    if as_json:
        show.print_json("message", response)
    else:
        show.say(f"{response['reason']}: {_short(response['content'])}")


@messages.command("retry", epilog=example("hub messages retry 4e21a9"))
@_message
@hub_option
@json_option
def retry(message: str, state: Path, as_json: bool) -> None:
    """Retry MESSAGE now if it waits; send it anew if it failed or expired."""
    with talk(state) as hub:
        response = hub.post(f"{_path(_found(hub, message))}/retry")
    if as_json:
        show.print_json("message", response)
    else:
        show.say(_result(response))


def _result(response: Mapping[str, Any]) -> str:
    """Describe the state of a message: its answer, its recipient, or the reason why it waits."""
    match response["state"]:
        case "answered":
            return f"answered: {response['answer']}"
        case "consumed":
            return f"{_to(response)} received it: {response['id']}"
        case state:
            why = f": {response['waiting_for']}" if response["waiting_for"] else ""
            return f"{state}{why}; the hub delivers it as soon as possible: {response['id']}"


def _to(response: Mapping[str, Any]) -> str:
    lead = f"the lead of {response['board']}" if response["board"] else "a lead"
    return str(response["agent"] or (lead if response["to_lead"] else ""))


def _proof(move: Mapping[str, Any]) -> str:
    """Summarize the proof of a state change; ``--json`` has all of it, with the letter itself."""
    words = _spelled({name: value for name, value in move["proof"].items() if name != "letter"})
    return _short("; ".join(part for part in (move["reason"] or "", words) if part), 160)


def _spelled(proof: Mapping[str, Any]) -> str:
    """Format a proof without its empty values, with short ids: ``history: role user, id 3f2a; boot b7``."""
    parts = []
    for name, value in proof.items():
        if isinstance(value, Mapping):
            inner = _spelled(value).replace(";", ",")
            parts += [f"{name}: {inner}"] if inner else []
        elif value is not None and value is not False and not name.endswith("_ms"):
            words = str(value)
            parts.append(f"{name} {show.short_id(words) if _UUID.fullmatch(words) else words}")
    return "; ".join(parts)


def _found(hub: Talk, ending: str) -> str:
    """Return the id of the message that ends in *ending*, because ids of one time begin alike."""
    if len(ending) >= WHOLE_ID:
        return ending
    known = [one["id"] for one in hub.get(PATH, limit=SEARCHED)["messages"] if one["id"].endswith(ending)]
    if len(known) > 1:
        raise Failure(
            f"several messages end in {ending!r}", Exit.USAGE, next_step="type more characters of the id"
        )
    return known[0] if known else ending


def _words(text: tuple[str, ...]) -> str:
    words = " ".join(text)
    return sys.stdin.read() if words == "-" else words


def _short(content: str, most: int = 60) -> str:
    line = one_line(content)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
