"""Commands on questions of agents to people: list, show, ask, answer, withdraw."""

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
SEARCHED: Final = 100  # newest questions that are searched for the end of an id
_question = click.argument("question")


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


@ask.command("ls", epilog=example("hub ask ls --all"))
@click.option("--board", metavar="NAME", help="Only questions of this board.")
@click.option(
    "--all", "everything", is_flag=True, help="Include questions that are answered, withdrawn or expired."
)
@click.option("--correlation-id", metavar="WORD", help="Only questions with this correlation id.")
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
    state_filter = None if everything else "open"
    with talk(state) as hub:
        response = hub.get(PATH, board=board, state=state_filter, correlation_id=correlation_id, limit=limit)
    if as_json:
        show.print_json("questions", response)
        return
    show.print_table(
        ("question", "board", "asked by", show.in_zone("asked"), "state", "text"),
        (
            (
                show.short_id(one["id"]),
                one["board"],
                one["asked_by"],
                show.short_moment(one["created_at"]),
                one["state"],
                _short(one["content"]),
            )
            for one in response["questions"]
        ),
    )
    if not response["questions"]:
        show.say("no questions" if everything else "no questions wait for an answer")


@ask.command("show", epilog=example("hub ask show 4e21a9"))
@_question
@hub_option
@json_option
def show_question(question: str, state: Path, as_json: bool) -> None:
    """Show QUESTION and its answer."""
    with talk(state) as hub:
        response = hub.get(_path(_found(hub, question)))
    if as_json:
        show.print_json("question", response)
        return
    show.print_facts(
        {
            "question": response["id"],
            "state": response["state"],
            "board": response["board"],
            "asked by": response["asked_by"],
            "asked": show.moment(response["created_at"]),
            "expires": show.moment(response["expires_at"]) if response["state"] == "open" else None,
            "correlation id": response["correlation_id"],
            "preferred channel": response["preferred_channel"],
            "main agent": response["main_agent"],
            "message": response["message_id"] and show.short_id(response["message_id"]),
            "shown on": ", ".join(response["devices"]) or None,
            "answered by": response["answered_by"],
            "settled": show.moment(response["settled_at"]) if response["settled_at"] else None,
        }
    )
    show.quote(response["content"])
    if response["answer"]:
        show.quote(response["answer"], mark="->")


@ask.command("user", epilog=example("hub ask user house 'Which date suits you?'"))
@click.argument("board", shell_complete=board_names)
@click.argument("text", nargs=-1, required=True)
@click.option("--channel", metavar="WORDS", help="Channel on which the person prefers to be reached.")
@click.option("--correlation-id", metavar="WORD", help="Your own reference, to find the question by.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Tag of the answer in the memory of the board."
)
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
        response = hub.post(f"/v1/boards/{quote(board, safe='')}/ask-user", body)
    if as_json:
        show.print_json("question", response)
    else:
        show.say(f"asked: {response['id']}; the answer is added to the memory of {response['board']}")


@ask.command("answer", epilog=example("hub ask answer 4e21a9 'Friday, 10:00'"))
@_question
@click.argument("text", nargs=-1, required=True)
@hub_option
@json_option
def answer_question(question: str, text: tuple[str, ...], state: Path, as_json: bool) -> None:
    """Answer QUESTION with TEXT; the first answer counts. TEXT of - is read from standard input."""
    with talk(state) as hub:
        response = hub.post(f"{_path(_found(hub, question))}/answer", {"answer": _words(text)})
    if as_json:
        show.print_json("question", response)
    else:
        show.say(f"answered: {_short(response['content'])}")


@ask.command("withdraw", epilog=example("hub ask withdraw 4e21a9"))
@_question
@hub_option
@json_option
def withdraw_question(question: str, state: Path, as_json: bool) -> None:
    """Withdraw QUESTION; an answer is not expected any more."""
    with talk(state) as hub:
        response = hub.post(f"{_path(_found(hub, question))}/withdraw")
    if as_json:
        show.print_json("question", response)
    else:
        show.say(f"withdrawn: {_short(response['content'])}")


def _found(hub: Talk, ending: str) -> str:
    """Return the id of the question that ends in *ending*, because ids of one time begin alike."""
    if len(ending) >= WHOLE_ID:
        return ending
    known = [one["id"] for one in hub.get(PATH, limit=SEARCHED)["questions"] if one["id"].endswith(ending)]
    if len(known) > 1:
        raise Failure(
            f"several questions end in {ending!r}", Exit.USAGE, next_step="type more characters of the id"
        )
    return known[0] if known else ending


def _words(text: tuple[str, ...]) -> str:
    words = " ".join(text)
    return sys.stdin.read() if words == "-" else words


def _short(content: str) -> str:
    line = one_line(content)
    return line if len(line) <= 80 else f"{line[:77]}..."


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
