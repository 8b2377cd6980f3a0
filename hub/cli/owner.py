"""The commands ``hub answer`` and ``hub grants``, for the owner of a device on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.cli import show
from hub.cli.connect import file_here
from hub.cli.failure import Exit, Failure
from hub.cli.options import example
from hub.printable import one_line

if TYPE_CHECKING:
    from hub.device.questions import Question


_File = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=example("hub answer 1 'Friday, 10:00'"))
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.argument("text", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Include questions that are answered, withdrawn or expired."
)
@click.option("--db", type=_File, help="The device's database [default: the only one in the state folder].")
@click.option("--name", help="The device's name, if this machine has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def answer(
    ctx: click.Context,
    number: int | None,
    text: tuple[str, ...],
    everything: bool,
    db: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """List the questions of agents to you, or answer one.

    Uses the database of a device on this machine, even if 'hub connect' does not run.
    Only the first answer to a question counts. TEXT of - is read from standard input.
    """
    from hub.clock import epoch_ms
    from hub.device.asked import answer as write_answer
    from hub.device.asked import read_questions
    from hub.device.inserts import DeviceFileError

    path = file_here(ctx, db, name)
    if number is not None and not text:
        raise Failure("the text of the answer is missing", Exit.USAGE, next_step=f"hub answer {number} TEXT")
    try:
        if number is None:
            _list(read_questions(path), everything, as_json)
            return
        words = " ".join(text)
        reply = sys.stdin.read() if words == "-" else words
        question = write_answer(path, number, reply, at_ms=epoch_ms(show.clock.now()))
    except DeviceFileError as error:
        raise Failure(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("question", _as_json(question))
    else:
        show.report(f"answered: {_short(question.content)}")


def _list(known: "list[Question]", everything: bool, as_json: bool) -> None:
    shown = [one for one in known if everything or one.is_waiting]
    if as_json:
        show.print_json("questions", {"questions": [_as_json(one) for one in shown]})
        return
    if not shown:
        show.report("no questions wait for your answer")
        return
    for one in shown:
        show.out("\n".join(_lines(one)))
    show.report("answer one by its number: hub answer 3 TEXT")


def _lines(one: "Question") -> list[str]:
    asker = one.asked_by or "unknown sender"
    where = f" ({one.board})" if one.board else ""
    head = f"{one.number}  {asker}{where}  {show.short_moment(_moment(one.asked_at))}"
    lines = [one_line(head), *(f"   {line}" for line in one.content.splitlines())]
    if one.answer:
        by = f"  ({one.settled_by})" if one.settled_by else ""
        lines.append(f"   -> {one_line(one.answer)}{one_line(by)}")
    elif not one.is_waiting:
        lines.append(f"   {one.state.value}")
    return lines


def _moment(at_ms: int) -> str:
    from hub.clock import from_epoch_ms

    return from_epoch_ms(at_ms).isoformat()


def _short(content: str) -> str:
    line = " ".join(content.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def _as_json(question: "Question") -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(question)
    return fields


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=example("hub grants +rows.read:tasks")
)
@click.argument("changes", metavar="[+GRANT|-GRANT]...", nargs=-1)
@click.option("--db", type=_File, help="The device's database [default: the only one in the state folder].")
@click.option("--name", help="The device's name, if this machine has several.")
@click.option("--hub", "address", help="The hub's address, if the device knows several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def grants(
    ctx: click.Context,
    changes: tuple[str, ...],
    db: Path | None,
    name: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Show the rights of the hub on this device, or change them.

    \b
    review.remote            the hub may apply review decisions that you made elsewhere
    rows.read=TABLE,TABLE    the hub may query your approved rows of these tables

    By default nothing is granted. A change applies on the device at once, even if 'hub connect'
    does not run; the hub is notified when the device connects next.

    Example: hub grants +rows.read=tasks,projects -review.remote
    """
    from hub.device.grants import BadGrant
    from hub.device.inserts import DeviceFileError
    from hub.device.known_hubs import SUFFIX, BadKnownHubs, KnownHubs
    from hub.device.owner import change_grants

    db = file_here(ctx, db, name)
    try:
        known = KnownHubs(db.with_suffix(SUFFIX), db.with_suffix(".key")).at_addresses()
        chosen = {hub.public_key: hub for hub in known.values() if address in (None, hub.address)}
        if len(chosen) != 1:
            addresses = ", ".join(known) or "none: run 'hub connect' once"
            raise Failure(f"name one hub with --hub ADDRESS; {db} knows {addresses}", Exit.USAGE)
        (hub,) = chosen.values()
        granted = change_grants(db, hub.public_key, changes)
    except BadGrant as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (BadKnownHubs, DeviceFileError) as error:
        raise Failure(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("grants", {"hub": hub.address, "key": hub.fingerprint, "grants": granted})
        return
    if granted:
        show.print_table(("grant", "tables"), granted.items())
        return
    show.report(
        f"the hub at {hub.address} may only write suggestions; to grant it more:",
        "  hub grants +rows.read=tasks,notes",
        "  hub grants +review.remote",
    )
