"""Commands ``hub places``: where the approved items of this machine's device go."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from hub.base.clock import SystemClock, from_epoch_ms
from hub.base.name_lists import counted
from hub.base.printable import one_line
from hub.cli import show
from hub.cli.device import database, remarks_of, require_settings, settings_of, settings_option
from hub.cli.errors import CommandError, Exit
from hub.cli.options import NAME, ListByDefault, device_state_option, example, json_option

if TYPE_CHECKING:
    from protocol.places import PlacesAnswer

_ADD: Final = "hub places add vault ~/vault/todo.md"
_KINDS: Final[Mapping[str, str]] = {"vault": "markdown", "calendar": "ics"} | {
    kind: kind for kind in ("markdown", "todo.txt", "csv", "jsonl")
}


@click.group(cls=ListByDefault, epilog=example(_ADD))
def places() -> None:
    """List, add, test and remove the places where approved items go: notes, lists and calendars."""


@places.command("ls", epilog=example("hub places ls"))
@settings_option
@device_state_option
@json_option
@click.pass_context
def list_places(ctx: click.Context, config: Path, as_json: bool) -> None:
    """List the places where approved items go, what waits and why, and what was refused or deleted there.

    An item that was deleted there stays here until you decide: 'hub review reject --approved'
    deletes it here, too; 'hub device sync --again' writes all such items again.
    """
    import msgspec

    from hub.device.device_file import connect_shared
    from hub.device.sinks.configured import sinks_of
    from hub.device.sinks.place_book import orders_of_hubs
    from hub.device.sinks.states import State, states

    settings = settings_of(config)
    db = database(ctx, config)
    found: dict[str, State] = {}
    if db.exists():
        with connect_shared(db) as opened:
            found = states(opened)
    remarks = remarks_of(db, sinks_of(config, db, settings))
    asked = orders_of_hubs(config.read_bytes())
    listed = [
        (sink, found.get(sink.name, State("was not synchronized yet", 0, 0))) for sink in settings.sinks
    ]
    if as_json:
        facts = [
            {"name": item.name, "kind": item.kind, "path": item.place, **msgspec.to_builtins(state)}
            | {"remedy": state.remedy(item.name), "asked": asked.get(item.name, "")}
            for item, state in listed
        ]
        show.print_json("places", {"places": facts, "remarks": remarks})
        return
    if listed:
        show.print_table(
            ["name", "kind~2", "place~1", "items~4", "wait", "deleted there~3", "problem"],
            [
                [
                    item.name,
                    item.kind,
                    item.place,
                    state.rows,
                    state.waiting,
                    len(state.deleted),
                    state.problem,
                ]
                for item, state in listed
            ],
        )
    else:
        show.report(f"none yet; add one: {_ADD}")
    for item, state in listed:
        for text in filter(None, (asked.get(item.name, ""), state.remedy(item.name))):
            show.out(f"{item.name}: {text}")
        for row in state.deleted:
            show.out(one_line(f"deleted in {item.name}: {row.table}  {row.title}"))
        if state.deleted:
            delete, write = "hub review reject NUMBERS --approved", "hub device sync --again"
            show.out(f"  here they stay; delete them here, too: {delete}; or write them there: {write}")
        for refused in state.refused:
            at = show.column_moment(from_epoch_ms(refused.until_ms).isoformat(), seconds=True)
            until = f"refused {counted(refused.tries, 'time')}, tried again from {at}"
            what = f"{refused.table}  {refused.title}: {refused.reason}; {until}"
            show.out(one_line(f"refused by {item.name}: {what}"))
    for remark in remarks:
        show.out(remark)


@places.command(epilog=example("hub places add todo.txt ~/todo.txt"))
@click.argument("kind", type=click.Choice([*_KINDS]))
@click.argument("place")
@click.option("--name", type=NAME, help="Name of the place [default: as its file or calendar].")
@click.option("--user", help="Name of the user at the server of a calendar.")
@click.option("--yes", is_flag=True, help="Add the place without a question.")
@settings_option
@device_state_option
@click.pass_context
def add(
    ctx: click.Context, kind: str, place: str, name: str | None, user: str | None, yes: bool, config: Path
) -> None:
    """Add PLACE, a file or the address of a calendar at a server, after a test.

    A file is a note, as in a vault of Obsidian, a todo.txt, a calendar file (.ics), or a table.
    With {date} in its path, each day has a note. A server asks for a user and a password; without a terminal,
    the password is read from standard input.
    """
    password = ""
    is_path = place.lower().endswith(".ics") or place.startswith(("/", "~", "."))
    if is_server := kind == "calendar" and ("://" in place or not is_path):
        user = user or click.prompt("user", err=True)
        is_typed = sys.stdin.isatty()
        password = click.prompt("password", hide_input=True, err=True) if is_typed else sys.stdin.readline()
    else:
        place = str(Path(place).expanduser().absolute())
    fields = {"kind": "caldav" if is_server else _KINDS[kind], "place": place, "user": user or ""}
    fields["password"] = password.rstrip("\r\n")
    before = _answered(ctx, config, {"do": "list"})
    if name in [known.name for known in before.places]:
        next_step = f"choose another --name, or first: hub places remove {name}"
        raise CommandError(f"there is a place called {name}", Exit.USAGE, next_step=next_step)
    order = {"do": "test", "name": name or "", **fields}
    while (tested := _answered(ctx, config, order, fails=False)).calendars:
        for number, calendar in enumerate(tested.calendars, 1):
            takes = f"  takes {' and '.join(calendar.tables)}" if calendar.tables else ""
            show.report(f"{number}  {calendar.url}  {calendar.name}{takes}")
        if not sys.stdin.isatty():
            raise CommandError(tested.problem, Exit.FAILED, next_step="name one of these addresses")
        number = click.prompt("calendar", type=click.IntRange(1, len(tested.calendars)), err=True)
        host = urlsplit(place if "://" in place else f"//{place}").netloc
        place = order["place"] = tested.calendars[number - 1].url
        if (other := urlsplit(place).netloc) != host:  # which gets no password unseen
            show.report(f"this calendar is at another server, {other}, which has not got the password yet")
            order["password"] = click.prompt(f"password at {other}", hide_input=True, err=True)
    if tested.rows and not yes:
        show.confirm(f"{_going(tested.rows)} there now; add this place?")
    saved = _answered(ctx, config, order | {"do": "save", "version": before.version})
    (added,) = {place.name for place in saved.places} - {place.name for place in before.places}
    show.report(f"added {added}: {_going(saved.rows)} there now, and each later one; see: hub places")
    if saved.left_out:
        out = " and ".join(saved.left_out)
        show.report(f"takes {' and '.join(saved.tables)} alone: add another place for {out}")


def _going(rows: int) -> str:
    return f"{counted(rows, 'approved item')} {'goes' if rows == 1 else 'go'}"


@places.command(epilog=example("hub places test todo"))
@click.argument("name", type=NAME)
@settings_option
@device_state_option
@click.pass_context
def test(ctx: click.Context, name: str, config: Path) -> None:
    """Sign in at the server of a place, or write its file on trial. Nothing is changed there."""
    _answered(ctx, config, {"do": "test", "name": name})
    show.report(f"{name} can be written")


@places.command(epilog=example("hub places remove todo"))
@click.argument("name", type=NAME)
@settings_option
@device_state_option
@click.pass_context
def remove(ctx: click.Context, name: str, config: Path) -> None:
    """Write nothing more to a place. What is there stays, and so do the items here."""
    _answered(ctx, config, {"do": "remove", "name": name})
    show.report(f"removed {name}; what was written there stays")


def _answered(
    ctx: click.Context, config: Path, order: Mapping[str, Any], *, fails: bool = True
) -> "PlacesAnswer":
    """Return the answer to an order. Raises CommandError: there is a problem, and *fails* or no calendar."""
    import msgspec

    from hub.device.sinks.place_book import PlaceBook
    from protocol.places import PlaceOrder

    require_settings(config)
    book = PlaceBook(config, database(ctx, config), SystemClock().now)
    answer = book.answer(msgspec.convert(order, PlaceOrder))
    if answer.problem and (fails or not answer.calendars):
        raise CommandError(answer.problem, Exit.FAILED)
    return answer
