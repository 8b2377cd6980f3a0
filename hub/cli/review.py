"""``hub review``: the owner of a device lists, approves, edits and rejects suggestions."""

import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.connect import file_here
from hub.cli.failure import Exit, Failure
from hub.cli.options import example
from hub.printable import spelled

if TYPE_CHECKING:
    from hub.device.inserts import DeviceItem
    from hub.device.owner import Decided

_File = click.Path(path_type=Path, dir_okay=False)
_Here = Callable[[], Path]  # finds the device's database when a command needs it, so that --help needs none


class _Label(click.ParamType[str]):
    """The label of an item in the list: its number, or its number and revision, as in 7.2."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if _LABEL.fullmatch(value) is None:
            self.fail(f"{value!r} is not the number of an item, as in 7 or 7.2", param, ctx)
        return _LABEL.sub(r"\1\2", value)


_LABEL: Final = re.compile(r"([1-9][0-9]{0,17})(?:\.1|(\.[1-9][0-9]{0,17}))?")
_numbers = click.argument("numbers", type=_Label(), nargs=-1, required=True)


@click.group(invoke_without_command=True, epilog=example("hub review"))
@click.option("--db", type=_File, help="The device's database [default: the only one in the state folder].")
@click.option("--name", help="The device's name, if this machine has several.")
@click.pass_context
def review(ctx: click.Context, db: Path | None, name: str | None) -> None:
    """List suggestions of agents; approve, edit and reject them.

    Uses the database of a device on this machine, even if 'hub connect' does not run.
    Without a command, lists the items that wait for your approval.
    """
    ctx.obj = partial(file_here, ctx, db, name)
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_items, everything=False, whole=False, as_json=False)


@review.command("ls", epilog=example("hub review ls --whole"))
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Include approved and changed items; show the status and project of each.",
)
@click.option("--whole", is_flag=True, help="Show long texts, as of notes, completely.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_items(here: _Here, everything: bool, whole: bool, as_json: bool) -> None:
    """List the items that wait for your approval, with the quotes that support them."""
    from hub.cli.suggestion import lines_of
    from hub.device.inserts import DeviceFileError, read_items

    db = here()
    try:
        items = [item for item in read_items(db) if everything or _waits(item)]
    except DeviceFileError as error:
        raise Failure(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("review", {"items": [_as_json(item) for item in items]})
        return
    if not items:
        show.report(f"no items wait in {db}")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for item in items:
        show.out("\n".join(lines_of(item, width, whole=whole, with_status=everything)))
    show.report(f"approve, edit or reject them by their numbers: hub review approve {items[0].label}")


@review.command("approve", epilog=example("hub review approve 1 2 5"))
@_numbers
@click.option("--project", metavar="NAME", help="Project of the items; created if it is new.")
@click.option("--task", metavar="TITLE", help="Task of the comments: its title or number.")
@click.option("--deletions", is_flag=True, help="Delete the items whose deletion the hub proposes.")
@click.pass_obj
def approve_items(
    here: _Here, numbers: tuple[str, ...], project: str | None, task: str | None, deletions: bool
) -> None:
    """Approve items by their numbers. An item that cannot be approved is named, and stays.

    \b
    Example: hub review approve 3 4 5 --project House
    """
    from hub.clock import epoch_ms
    from hub.device.owner import approve

    options = {"project": project, "task": task}
    fields = {name: value for name, value in options.items() if value is not None}
    at_ms = epoch_ms(show.clock.now())
    _decide(lambda: approve(here(), numbers, at_ms=at_ms, deletes=deletions, fields=fields))


@review.command("edit", epilog=example("hub review edit 3 dueDate=2026-03-09"))
@click.argument("words", metavar="NUMBERS... FIELD=VALUE...", nargs=-1, required=True)
@click.pass_obj
def edit_items(here: _Here, words: tuple[str, ...]) -> None:
    """Change fields of items by their numbers. No hub changes such items again.

    FIELD= empties the field.

    \b
    Example: hub review edit 7 title="call Ana" dueDate=2027-02-03 project=House
    """
    from hub.clock import epoch_ms
    from hub.device.owner import edit

    numbers = tuple(_LABEL.sub(r"\1\2", word) for word in words if _LABEL.fullmatch(word))
    others = [word.partition("=") for word in words if not _LABEL.fullmatch(word)]
    fields = {name: value for name, sign, value in others if sign}
    if not numbers or not fields or len(fields) < len(others):
        raise click.UsageError("name the items by their numbers, and each field once as FIELD=VALUE")
    _decide(lambda: edit(here(), numbers, fields, at_ms=epoch_ms(show.clock.now())))


@review.command("reject", epilog=example("hub review reject 4 6"))
@_numbers
@click.option("--approved", is_flag=True, help="Also delete items that you have approved.")
@click.pass_obj
def reject_items(here: _Here, numbers: tuple[str, ...], approved: bool) -> None:
    """Remove items by their numbers. They return only if their source changes.

    If a change of an item is proposed, the change is dropped and the item stays as it is.
    """
    from hub.device.owner import reject

    _decide(lambda: reject(here(), numbers, deletes=approved))


def _decide(decision: Callable[[], "Decided"]) -> None:
    """Apply the decision of the owner and print its result. Exits with 1 if an item was refused."""
    from hub.device.inserts import DeviceFileError

    try:
        decided = decision()
    except DeviceFileError as error:
        raise Failure(str(error), Exit.FAILED) from error
    show.report(*map(spelled, decided.done + decided.refused))
    if decided.refused:
        sys.exit(Exit.FAILED)


def _waits(item: "DeviceItem") -> bool:
    """Return whether the owner has yet to decide: on the item, or on a change of it."""
    return not item.data.get("isApproved") or item.proposal is not None


def _as_json(item: "DeviceItem") -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(item)
    return fields
