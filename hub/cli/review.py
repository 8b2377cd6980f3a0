"""Commands ``hub review``, ``hub answer`` and ``hub grants`` of a device's owner."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from hub.base.printable import one_line, shell_word, spelled
from hub.cli import show
from hub.cli.connect import file_here
from hub.cli.device import default_settings
from hub.cli.errors import CommandError, Exit
from hub.cli.export import review_export
from hub.cli.formats import short
from hub.cli.items import agreed
from hub.cli.options import NAME, CommandT, FilePathParam, device_state_option, example, json_option

if TYPE_CHECKING:
    from hub.device.held_items import HeldItem, HeldItems, HeldVerdict
    from hub.device.items import DeviceItem, OthersProposal
    from hub.device.messages import StoredQuestion
    from hub.device.owner import OwnerDecisions


_File = FilePathParam(dir_okay=False)
_Here = Callable[[], Path]  # finds the device's database when a command needs it, so that --help needs none


class _Label(click.ParamType[str]):
    """The label of an item in the list: its number, or its number and revision, as in 7.2."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if _LABEL.fullmatch(value) is None:
            self.fail(f"{value!r} is not the number of an item, as in 7 or 7.2", param, ctx)
        return _LABEL.sub(r"\1\2", value)


class _AnyLabel(_Label):
    """The label of an item, or of a less sure one that the hub holds, as in u4e21a9."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if _HELD.fullmatch(value) else super().convert(value, param, ctx)


_HELD: Final = re.compile(r"u[0-9a-z-]{6}")
_LABEL: Final = re.compile(r"([1-9][0-9]{0,17})(?:\.1|(\.[1-9][0-9]{0,17}))?")
_marked = click.option("--marked", is_flag=True, help="Do not ask about items with a mark.")
_numbers = click.argument("numbers", type=_AnyLabel(), nargs=-1, required=True)


def _device_options(command: CommandT) -> CommandT:
    """Add the options that select the device: ``--db`` and ``--name``."""
    name = click.option("--name", type=NAME, help="The device's name, if this machine has several.")
    help = "The device's database [default: the only one in the state folder]."
    return device_state_option(click.option("--db", type=_File, help=help)(name(command)))


@click.group(invoke_without_command=True, epilog=example("hub review"))
@_device_options
@click.option("--web", is_flag=True, help="Review in a browser on this machine.")
@click.option("--no-open", is_flag=True, help="With --web: print the link only.")
@click.pass_context
def review(ctx: click.Context, db: Path | None, name: str | None, web: bool, no_open: bool) -> None:
    """List suggestions of agents; approve, edit and reject them.

    Uses the database of a device on this machine, even if 'hub connect' does not run.
    Without a command, shows the items that wait for your approval: on a terminal
    one by one, decided about by keys; else as a list.
    """
    ctx.obj = partial(file_here, ctx, db, name)
    if ctx.invoked_subcommand is not None:
        return
    if web:
        _serve_pages(ctx.obj(), no_open=no_open)
    elif _is_terminal() and find_spec("termios"):
        _show_inbox(ctx.obj())
    else:
        ctx.invoke(list_items, everything=False, apart=False, unsure=False, whole=False, as_json=False)
        if _is_terminal():
            show.report("this system has no inbox by keys; review in a browser: hub review --web")


review.add_command(review_export)


def _is_terminal() -> bool:
    is_plain = os.environ.get("TERM", "dumb") == "dumb" and sys.platform != "win32"
    return sys.stdin.isatty() and sys.stdout.isatty() and not is_plain


def _show_inbox(path: Path) -> None:
    """Show the inbox on the terminal, if an item waits."""
    from hub.cli.inbox import show_inbox
    from hub.device.device_file import DeviceFileError
    from hub.device.inbox import Inbox
    from hub.device.items import waits

    inbox = Inbox(path)
    try:
        if any(map(waits, inbox.items())):
            show_inbox(inbox, show.clock)
        else:
            show.report(f"no items wait in {path}")
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error


def _serve_pages(path: Path, *, no_open: bool) -> None:
    """Serve the page for review to a browser on this machine, until Ctrl-C."""
    import socket

    import anyio

    from hub.base.clock import SystemChance, SystemClock
    from hub.cli.access import show_link
    from hub.device.device_file import DeviceFileError
    from hub.device.inbox import Inbox
    from hub.device.review.server import OwnReview, serve

    inbox = Inbox(path)
    try:
        inbox.items()
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        app = OwnReview(inbox, port=port, clock=SystemClock(), chance=SystemChance())
        show_link(f"http://127.0.0.1:{port}{app.path}", path.parent, no_open=no_open)
        show.report("Ctrl-C ends the review.")
        with suppress(KeyboardInterrupt):
            anyio.run(serve, app, sock)


@review.command("ls", epilog=example("hub review ls --whole"))
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Include approved and changed items; show the status and project of each.",
)
@click.option("--apart", is_flag=True, help="List the items of unknown authors that agents list apart.")
@click.option(
    "--unsure", is_flag=True, help="List the less sure items, which stay at the hub until approved."
)
@click.option("--whole", is_flag=True, help="Show long texts, as of notes, completely.")
@json_option
@click.pass_obj
def list_items(here: _Here, everything: bool, apart: bool, unsure: bool, whole: bool, as_json: bool) -> None:
    """List the items that wait for your approval, with the quotes that support them."""
    from hub.cli.inbox import lines_of
    from hub.device.device_file import DeviceFileError
    from hub.device.held_items import UNSURE_COMMAND, list_held
    from hub.device.items import is_apart, proposed_by_others, read_items, waits, without_repeats

    db = here()
    if unsure:
        _list_held(list_held(db), as_json=as_json)
        return
    try:
        found = read_items(db)
        waiting = found if everything else without_repeats(filter(waits, found))
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    items, others = [item for item in waiting if is_apart(item) is apart], proposed_by_others(db)
    if as_json:
        show.print_json("review", {"items": [_as_json(item, others) for item in items]})
        return
    left = len(waiting) - len(items)
    if held := list_held(db).total:
        show.report(f"{held} less sure: {UNSURE_COMMAND}")
    if left and not apart:
        noun = "item of an unknown author is" if left == 1 else "items of unknown authors are"
        show.report(f"{left} {noun} listed apart: hub review ls --apart")
    if not items:
        show.report(f"no items wait in {db}" if apart or not left else "no other items wait")
        return
    for item in items:
        proposed = others.get(item.row_id, ())
        lines = lines_of(item, show.columns(), whole=whole, with_status=everything, others=proposed)
        show.out("\n".join(lines))
    show.report(f"approve, edit or reject them by their numbers: hub review approve {items[0].label}")


@review.command("approve", epilog=example("hub review approve 1 2 5"))
@_numbers
@click.option("--project", metavar="NAME", help="Project of the items; created if it is new.")
@click.option("--task", metavar="TITLE", help="Task of the comments: its title or number.")
@click.option("--deletions", is_flag=True, help="Delete the items whose deletion the hub proposes.")
@_marked
@click.pass_obj
def approve_items(
    here: _Here,
    numbers: tuple[str, ...],
    project: str | None,
    task: str | None,
    deletions: bool,
    marked: bool,
) -> None:
    """Approve items by their numbers. An item that cannot be approved is named, and stays.

    Asks about each item with a mark, below its words.

    \b
    Example: hub review approve 3 4 5 --project House
    """
    from hub.base.clock import epoch_ms
    from hub.device.owner import approve

    options = {"project": project, "task": task}
    fields = {name: value for name, value in options.items() if value is not None}
    if held := [label for label in numbers if fields and _HELD.fullmatch(label)]:
        raise click.UsageError(
            f"{held[0]} is a less sure item: approve it first, then set its {' and '.join(fields)}"
        )
    at_ms, path = epoch_ms(show.clock.now()), here()
    found = _held_of(path, numbers)
    _decide_all(
        path,
        found,
        numbers if marked else _agreed(path, numbers, found),
        "approve",
        lambda db, plain: approve(db, plain, at_ms=at_ms, deletes=deletions, fields=fields),
    )


@review.command("edit", epilog=example("hub review edit 3 dueDate=2026-03-09"))
@click.argument("words", metavar="NUMBERS... FIELD=VALUE...", nargs=-1, required=True)
@click.option("--open", "stays_open", is_flag=True, help="Do not approve: the items go on waiting.")
@_marked
@click.pass_obj
def edit_items(here: _Here, words: tuple[str, ...], stays_open: bool, marked: bool) -> None:
    """Change fields of items by their numbers, and approve them. No hub changes such items again.

    FIELD= empties the field.

    \b
    Example: hub review edit 7 title="call Ana" dueDate=2027-02-03 project=House
    """
    from hub.base.clock import epoch_ms
    from hub.device.owner import approve, edit

    numbers = tuple(_LABEL.sub(r"\1\2", word) for word in words if _LABEL.fullmatch(word))
    others = [word.partition("=") for word in words if not _LABEL.fullmatch(word)]
    fields = {name: value for name, sign, value in others if sign}
    if held := [word for word in words if _HELD.fullmatch(word)]:
        raise click.UsageError(f"{held[0]} is a less sure item: approve it first, then edit it by its number")
    if not numbers or not fields or len(fields) < len(others):
        raise click.UsageError("name the items by their numbers, and each field once as FIELD=VALUE")
    change = partial(edit if stays_open else approve, fields=fields, at_ms=epoch_ms(show.clock.now()))
    path = here()
    chosen = numbers if marked else _agreed(path, numbers, _held_of(path, ()))
    _decide(lambda: change(path, chosen))


@review.command("reject", epilog=example("hub review reject 4 6"))
@_numbers
@click.option("--approved", is_flag=True, help="Also delete items that you have approved.")
@click.pass_obj
def reject_items(here: _Here, numbers: tuple[str, ...], approved: bool) -> None:
    """Remove items by their numbers. They return only if their source changes.

    If a change of an item is proposed, the change is dropped and the item stays as it is.
    """
    from hub.device.owner import reject

    path = here()
    _decide_all(
        path,
        _held_of(path, numbers),
        numbers,
        "reject",
        lambda db, plain: reject(db, plain, deletes=approved),
    )


def _held_of(db: Path, labels: Sequence[str]) -> "HeldItems":
    """Return the items that the hub holds, if a label is of one: listed once, shown and decided about."""
    from hub.device.held_items import HeldItems, list_held

    return list_held(db) if any(map(_HELD.fullmatch, labels)) else HeldItems()


def _agreed(db: Path, labels: Sequence[str], found: "HeldItems") -> list[str]:
    """Return the labels; of items with a mark, those that their owner agrees to, asked about each.

    Raises:
        Failure: an item has a mark, and there is no terminal to ask at.
    """
    from hub.cli.inbox import lines_of
    from hub.device.held_items import label_of
    from hub.device.items import read_items, waits

    shown = {
        str(item.number): [*lines_of(item, show.columns())]
        for item in read_items(db)
        if waits(item) and item.marks
    }
    shown |= {label_of(item): list(_held_lines(item)) for item in found.items if item.warnings}
    return agreed(labels, lambda label: shown.get(label.partition(".")[0], ()))


def _decide_all(
    db: Path,
    found: "HeldItems",
    labels: Sequence[str],
    verdict: "HeldVerdict",
    decision: "Callable[[Path, Sequence[str]], OwnerDecisions]",
) -> None:
    """Apply a decision to items, and to those that the hub holds."""
    from hub.device.held_items import decide_held
    from hub.device.owner import OwnerDecisions

    held = [label for label in labels if _HELD.fullmatch(label)]
    plain = [label for label in labels if label not in held]

    def decide() -> OwnerDecisions:
        parts = [decision(db, plain)] if plain else []
        parts += [decide_held(db, found, held, verdict)] if held else []
        return OwnerDecisions(
            [line for part in parts for line in part.done], [line for part in parts for line in part.refused]
        )

    _decide(decide)


def _list_held(found: "HeldItems", *, as_json: bool) -> None:
    """Print the items that the hub holds."""
    import msgspec

    from hub.device.held_items import label_of

    if as_json:
        show.print_json("review", {"items": msgspec.to_builtins(found.items)})
        return
    for item in found.items:
        show.out("\n".join(_held_lines(item)))
    if not found.items:
        show.report("the hub holds no less sure items, or the device is not connected: hub device status")
        return
    more = found.total - len(found.items)
    show.report(*([f"{more} older ones follow once these are decided"] if more else []))
    show.report(f"approve or reject them: hub review approve {label_of(found.items[0])}")


def _held_lines(item: "HeldItem") -> Iterator[str]:
    """Yield the lines about an item that the hub holds."""
    from hub.device.held_items import label_of
    from protocol.items import MARKS

    yield one_line(f"{label_of(item)}  {item.table}  {item.title}")
    if fields := _fields_of(item):
        yield one_line(f"    {fields}")
    yield one_line(f'    {item.path}: "{short(item.quote)}"')
    yield from [one_line(f"    marks of its task list: {' '.join(item.marks)}")] if item.marks else []
    yield from (one_line(f"    ! {MARKS.get(warning, warning)}") for warning in item.warnings)


def _fields_of(item: "HeldItem") -> str:
    """Return the fields of an item that the hub holds, as ``dueDate 2026-12-04``, without its title."""
    spelt = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in item.data.items()
    }
    return ", ".join(f"{name} {short(value)}" for name, value in spelt.items() if value != item.title)


def _decide(decision: Callable[[], "OwnerDecisions"]) -> None:
    """Apply the decision of the owner and print its result. Exits with 1 if an item was refused."""
    from hub.device.device_file import DeviceFileError

    try:
        decided = decision()
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    show.report(*map(spelled, decided.done + decided.refused))
    if decided.refused:
        sys.exit(Exit.FAILED)


def _as_json(
    item: "DeviceItem | StoredQuestion",
    others: "Mapping[str, Sequence[OthersProposal]]" = MappingProxyType({}),
) -> dict[str, Any]:
    import msgspec

    from hub.base.dates import dates_as_texts
    from hub.device.items import DeviceItem

    fields: dict[str, Any] = msgspec.to_builtins(item)
    if isinstance(item, DeviceItem):
        table, zone = item.declaration, item.remarks.timezone
        del fields["declaration"]  # the columns of the table
        fields["others"] = msgspec.to_builtins(others.get(item.row_id, ()))
        for part in filter(None, (fields, fields["proposal"])):
            part["data"] = part["data"] and dates_as_texts(table, part["data"], zone)
    return fields


@click.command(epilog=example("hub answer 1 'Friday, 10:00'"))
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.argument("text", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Include questions that are answered, withdrawn or expired."
)
@_device_options
@json_option
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
    from hub.base.clock import epoch_ms
    from hub.device.device_file import DeviceFileError
    from hub.device.owner import answer as write_answer
    from hub.device.owner import read_questions

    path = file_here(ctx, db, name)
    if number is not None and not text:
        raise CommandError(
            "the text of the answer is missing", Exit.USAGE, next_step=f"hub answer {number} TEXT"
        )
    try:
        if number is None:
            _list(read_questions(path), everything, as_json)
            return
        words = " ".join(text)
        reply = sys.stdin.read() if words == "-" else words
        question = write_answer(path, number, reply, at_ms=epoch_ms(show.clock.now()))
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("question", _as_json(question))
    else:
        show.report(f"answered: {short(question.content)}")


def _list(known: "list[StoredQuestion]", everything: bool, as_json: bool) -> None:
    shown = [question for question in known if everything or question.is_waiting]
    if as_json:
        show.print_json("questions", {"questions": [_as_json(question) for question in shown]})
        return
    if not shown:
        show.report("no questions wait for your answer")
        return
    for question in shown:
        show.out("\n".join(_lines(question)))
    show.report("answer one by its number: hub answer 3 TEXT")


def _lines(question: "StoredQuestion") -> list[str]:
    from hub.base.clock import from_epoch_ms, moment_text

    asker = question.asked_by or "unknown sender"
    where = f" ({question.board})" if question.board else ""
    head = f"{question.number}  {asker}{where}  {moment_text(from_epoch_ms(question.asked_at))}"
    lines = [one_line(head), *(f"   {line}" for line in question.content.splitlines())]
    if question.answer:
        by = f"  ({question.settled_by})" if question.settled_by else ""
        lines.append(f"   -> {one_line(question.answer)}{one_line(by)}")
    elif not question.is_waiting:
        lines.append(f"   {question.state.value}")
    return lines


@click.command("open", epilog=example("hub open"))
@_device_options
@click.option("--no-open", is_flag=True, help="Print the link only.")
@json_option
@click.pass_context
def open(ctx: click.Context, db: Path | None, name: str | None, no_open: bool, as_json: bool) -> None:
    """Open the pages of the hub in a browser, with your own things.

    The connected device asks the hub for a link, which works once, within a minute. The session shows the
    items, questions, devices and agents of the device's user, and ends when the device is revoked.
    """
    open_page(file_here(ctx, db, name), no_open=no_open, as_json=as_json)


def open_page(db: Path, page: str = "", *, no_open: bool = False, as_json: bool = False) -> None:
    """Open a page of the hub in a browser, or its home page, as the owner of the device of *db*.

    Raises:
        Failure: the device is not connected, or the hub gives it no link.
    """
    from hub.cli.access import show_link
    from hub.device.owner_requests import SUFFIX, ask_link

    path = db.with_suffix(SUFFIX)
    try:
        answer = ask_link(path)
    except OSError as error:
        next_step = "hub device status says why; start it as before: hub up, hub device run or hub connect"
        raise CommandError(
            "the device is not connected to its hub", Exit.FAILED, next_step=next_step
        ) from error
    if answer.problem:
        raise CommandError(answer.problem, Exit.FAILED)
    show_link(answer.link, db.parent, page, no_open=no_open, as_json=as_json)


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=example("hub grants +rows.read=tasks")
)
@click.argument("changes", metavar="[+GRANT|-GRANT]...", nargs=-1)
@_device_options
@click.option("--hub", "address", help="The hub's address, if the device knows several.")
@json_option
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

    \b
    files.read=NAME,NAME     programs at the hub may read files of these shared folders
    places                   the hub may change where approved rows go

    With review.remote=marked, it may also approve and change items that have a mark; with
    review.remote=approved, also change rows that you approved; both: marked,approved.

    By default nothing is granted. A change applies on the device at once, even if 'hub connect'
    does not run; the hub is notified within seconds by a running one, else at its next connection.

    Example: hub grants +rows.read=tasks,projects -review.remote
    """
    from hub.device.device_file import DeviceFileError
    from hub.device.grants import BadGrant
    from hub.device.known_hubs import SUFFIX, BadKnownHubs, KnownHubs
    from hub.device.owner import change_grants
    from hub.device.sinks.place_book import orders_of_hubs

    db = file_here(ctx, db, name)
    try:
        known = KnownHubs(db.with_suffix(SUFFIX), db.with_suffix(".key")).at_addresses()
        chosen = {hub.public_key: hub for hub in known.values() if address in (None, hub.address)}
        if len(chosen) != 1:
            addresses = ", ".join(known) or "none: run 'hub connect' once"
            raise CommandError(f"name one hub with --hub ADDRESS; {db} knows {addresses}", Exit.USAGE)
        (hub,) = chosen.values()
        granted = change_grants(db, hub.public_key, changes)
    except BadGrant as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except (BadKnownHubs, DeviceFileError) as error:
        raise CommandError(str(error), Exit.FAILED) from error
    if any(change.startswith("-") for change in changes):
        with suppress(OSError, ValueError):  # a device without settings, or with broken ones
            for place, asked in orders_of_hubs(default_settings().read_bytes()).items():
                if f"begins {hub.fingerprint[:7]}" in asked:
                    remedy = f"hub places remove {shell_word(place)}"
                    show.report(f"{place} is still a place, {asked}; to end it: {remedy}")
    if as_json:
        show.print_json("grants", {"hub": hub.address, "key": hub.fingerprint, "grants": granted})
        return
    if granted:
        show.report(f"granted to the hub at {hub.address}; take one back: hub grants -GRANT")
        for grant, words in granted.items():
            show.out("=".join(filter(None, (grant, ",".join(words)))))
        return
    show.report(
        f"the hub at {hub.address} may only write suggestions; to grant it more:",
        "  hub grants +rows.read=tasks,notes",
        "  hub grants +files.read=FOLDER",
        "  hub grants +review.remote",
        "  hub grants +places",
    )
