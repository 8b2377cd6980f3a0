"""Commands on questions: what agents want to know of people, asked, answered, taken back."""

import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import board_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.printable import one_line

PATH: Final = "/v1/questions"
WHOLE_ID: Final = 36  # characters
LOOKED_AT: Final = 100  # the newest questions, for the end of an id
_question = click.argument("question")


class _AskOrList(ListByDefault):
    """No command means ``ls``; words that are no command, a board and what its person is asked."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["user", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_AskOrList, epilog=example("hub ask answer 4e21a9 'Friday, 10:00'"))
def ask() -> None:
    """List questions of agents to people; ask, answer and withdraw them.

    Without a command, BOARD and TEXT ask: hub ask roadmap Which colour is the door to be?
    """


@ask.command("ls", epilog=example("hub ask ls --all"))
@click.option("--board", metavar="NAME", help="Only of this board.")
@click.option("--all", "everything", is_flag=True, help="Also what was answered, or is over.")
@click.option("--correlation-id", metavar="WORD", help="Only those that were asked with this word.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@hub_option
@json_option
def list_questions(
    board: str | None,
    everything: bool,
    correlation_id: str | None,
    limit: int,
    state: Path,
    as_json: bool,
) -> None:
    """List the questions that wait for an answer, the newest first."""
    wanted = None if everything else "open"
    with talk(state) as hub:
        told = hub.get(PATH, board=board, state=wanted, correlation_id=correlation_id, limit=limit)
    if as_json:
        show.print_json("questions", told)
        return
    show.print_table(
        ("question", "board", "asked by", show.in_zone("asked"), "state", "wants to know"),
        (
            (
                show.short_id(one["id"]),
                one["board"],
                one["asked_by"],
                show.short_moment(one["created_at"]),
                one["state"],
                _short(one["content"]),
            )
            for one in told["questions"]
        ),
    )
    if not told["questions"]:
        show.say("nobody waits for an answer")


@ask.command("show", epilog=example("hub ask show 4e21a9"))
@_question
@hub_option
@json_option
def show_question(question: str, state: Path, as_json: bool) -> None:
    """Show QUESTION and its answer."""
    with talk(state) as hub:
        told = hub.get(_path(_found(hub, question)))
    if as_json:
        show.print_json("question", told)
        return
    show.print_facts(
        {
            "question": told["id"],
            "state": told["state"],
            "board": told["board"],
            "asked by": told["asked_by"],
            "asked": show.moment(told["created_at"]),
            "waits until": show.moment(told["expires_at"]) if told["state"] == "open" else None,
            "correlation id": told["correlation_id"],
            "preferred channel": told["preferred_channel"],
            "over the gateway": told["main_agent"],
            "its message": told["message_id"] and show.short_id(told["message_id"]),
            "shown on": ", ".join(told["devices"]) or None,
            "answered by": told["answered_by"],
            "settled": show.moment(told["settled_at"]) if told["settled_at"] else None,
        }
    )
    show.quote(told["content"])
    if told["answer"]:
        show.quote(told["answer"], mark="->")


@ask.command("user", epilog=example("hub ask user house 'Which date suits you?'"))
@click.argument("board", shell_complete=board_names)
@click.argument("text", nargs=-1, required=True)
@click.option("--channel", metavar="WORDS", help="Over which the person would rather be reached.")
@click.option("--correlation-id", metavar="WORD", help="A word of yours, to find it by.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="What the answer bears in the memory.")
@hub_option
@json_option
def ask_user(
    board: str,
    text: tuple[str, ...],
    channel: str | None,
    correlation_id: str | None,
    tags: tuple[str, ...],
    state: Path,
    as_json: bool,
) -> None:
    """Ask the person who owns BOARD. TEXT of - is read from standard input."""
    about = {"preferred_channel": channel, "correlation_id": correlation_id, "reply_tags": tags or None}
    body = {"content": _words(text)} | {name: value for name, value in about.items() if value}
    with talk(state) as hub:
        told = hub.post(f"/v1/boards/{quote(board, safe='')}/ask-user", body)
    if as_json:
        show.print_json("question", told)
    else:
        show.say(f"asked: {told['id']}; the answer comes into the memory of {told['board']}")


@ask.command("answer", epilog=example("hub ask answer 4e21a9 'Friday, 10:00'"))
@_question
@click.argument("text", nargs=-1, required=True)
@hub_option
@json_option
def answer_question(question: str, text: tuple[str, ...], state: Path, as_json: bool) -> None:
    """Answer QUESTION with TEXT; the first answer counts. TEXT of - is read from standard input."""
    with talk(state) as hub:
        told = hub.post(f"{_path(_found(hub, question))}/answer", {"answer": _words(text)})
    if as_json:
        show.print_json("question", told)
    else:
        show.say(f"answered: {_short(told['content'])}")


@ask.command("withdraw", epilog=example("hub ask withdraw 4e21a9"))
@_question
@hub_option
@json_option
def withdraw_question(question: str, state: Path, as_json: bool) -> None:
    """Withdraw QUESTION; an answer is not expected any more."""
    with talk(state) as hub:
        told = hub.post(f"{_path(_found(hub, question))}/withdraw")
    if as_json:
        show.print_json("question", told)
    else:
        show.say(f"withdrawn: {_short(told['content'])}")


def _found(hub: Talk, given: str) -> str:
    """The id of the question whose id ends so: ids of one time begin alike."""
    if len(given) >= WHOLE_ID:
        return given
    known = [one["id"] for one in hub.get(PATH, limit=LOOKED_AT)["questions"] if one["id"].endswith(given)]
    if len(known) > 1:
        raise Failure(f"several questions end in {given!r}", Exit.USAGE, next_step="write more of its id")
    return known[0] if known else given


def _words(text: tuple[str, ...]) -> str:
    words = " ".join(text)
    return sys.stdin.read() if words == "-" else words


def _short(content: str) -> str:
    line = one_line(content)
    return line if len(line) <= 80 else f"{line[:77]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
