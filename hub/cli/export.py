"""Commands ``hub export`` and ``hub review export``: items as CSV, JSON or iCalendar."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import click

from hub.base.printable import printable, printable_json
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import (
    HubClient,
    agent_names,
    device_names,
    open_client,
)
from hub.cli.options import CommandT, FilePathParam, example, hub_option, moment_option
from hub.text.rows.csv_lines import as_text, csv_line

if TYPE_CHECKING:
    from protocol.tables import ExportedItem

Format = Literal["csv", "jsonl", "json", "ics"]
VERDICTS: Final = {"suggested": ("open",), "approved": ("approved", "edited"), "rejected": ("rejected",)}
OTHERS: Final = "other_fields"  # column of fields that no column is named after, as JSON
_KEYS: Final = (  # columns of CSV about an item
    *("id", "table", "state", "is_edited", "title", "user", "agent", "device", "run_id", "row_id", "path"),
    *("quote", "found_by", "found_at", "decided_at", "places"),
)


def _options(command: CommandT) -> CommandT:
    """Add the options that all exports have."""
    command = moment_option("--since", "Only items found from then on")(command)
    table = click.option("--table", metavar="NAME", help="Only items of this table.")
    format = click.option(
        "--format",
        type=click.Choice(("csv", "jsonl", "json", "ics")),
        help="Format [default: that of the name of FILE, else jsonl].",
    )
    return click.argument("file", type=FilePathParam(dir_okay=False), required=False)(format(table(command)))


@click.command(epilog=example("hub export tasks.csv --table tasks --in-state approved"))
@_options
@click.option("--in-state", "verdict", type=click.Choice(tuple(VERDICTS)), help="Only items in this state.")
@click.option("--agent", metavar="NAME", help="Only items of this agent.", shell_complete=agent_names)
@click.option("--device", metavar="NAME", help="Only items for this device.", shell_complete=device_names)
@hub_option
def export(
    file: Path | None,
    format: Format | None,
    verdict: str | None,
    state: Path,
    **filters: Any,
) -> None:
    """Write the items of a hub to FILE, or to standard output.

    As CSV, JSON lines, JSON, or a calendar of tasks and timelines: 'hub help export' describes them.
    FILE is replaced in one step, once all items are written. What a person approved is also on the
    device itself: hub review export.
    """
    with open_client(state) as hub:
        fields = [field["name"] for table in _tables(hub, filters["table"]) for field in table["fields"]]
        write(file, format, fields, _of_hub(hub, VERDICTS[verdict][0] if verdict else None, filters))


def _tables(hub: HubClient, name: str | None) -> list[Mapping[str, Any]]:
    tables = hub.get_all("/v1/tables", "tables")["tables"]
    return [table for table in tables if name in (None, table["name"])]


def _of_hub(hub: HubClient, verdict: str | None, filters: Mapping[str, Any]) -> Iterator["ExportedItem"]:
    for page in hub.pages("/v1/items", values="true", verdict=verdict, **filters):
        yield from (_exported(item) for item in page["items"])


def _exported(item: Mapping[str, Any]) -> "ExportedItem":
    import msgspec

    from protocol.tables import ExportedItem

    given = item["verdict"]
    state = next(state for state, verdicts in VERDICTS.items() if given in verdicts)
    times = {"found_at": item["created_at"], "decided_at": item["verdict_at"]}
    own = {"state": state, "is_edited": given == "edited", **times}
    return msgspec.convert({**item, **own}, ExportedItem)


@click.command("export", epilog=example("hub review export tasks.csv --table tasks --in-state approved"))
@_options
@click.option(
    "--in-state", "state", type=click.Choice(("suggested", "approved")), help="Only items in this state."
)
@click.pass_obj
def review_export(
    here: Callable[[], Path],
    file: Path | None,
    format: Format | None,
    table: str | None,
    since: str | None,
    state: str | None,
) -> None:
    """Write the rows of this device to FILE, or to standard output, as 'hub export' does.

    Needs no hub. Your own rows are among them; rejected items are not: the device has deleted them.
    """
    from hub.base.clock import epoch_ms
    from hub.device.device_file import DeviceFileError
    from hub.device.items import exported
    from protocol.similar_names import did_you_mean

    from_ms = 0 if since is None else epoch_ms(datetime.fromisoformat(since))
    is_approved = None if state is None else state == "approved"
    try:
        with exported(here(), table=table, since=from_ms, is_approved=is_approved) as (tables, items):
            if table is not None and table not in tables:
                existing = f"this device has {', '.join(tables)}"
                known = "; ".join(filter(None, (did_you_mean(table, tables), existing)))
                raise CommandError(f"there is no table {table!r}", Exit.USAGE, next_step=known)
            fields = [field.name for name in tables if table in (None, name) for field in tables[name].fields]
            write(file, format, fields, items)
    except DeviceFileError as error:
        raise CommandError(str(error), Exit.FAILED) from error


def write(
    file: Path | None, format: Format | None, fields: Sequence[str], items: Iterator["ExportedItem"]
) -> None:
    """Write items one by one, and report their number. Raises CommandError.

    Args:
        fields: of the tables, for the columns of CSV.
    """
    style = _STYLES[format or _format_of(file)]
    columns = [name for name in dict.fromkeys(fields) if name != "title"]  # it is among the keys
    written = left = 0
    with _target(file) as put:
        put(style.head(columns))
        for item in items:
            if (text := style.text_of(item, columns)) is None:
                left += 1
                continue
            put(f"{style.between if written else ''}{text}")
            written += 1
        put(style.tail)
    show.report(f"items written: {written}" + (f"; without a date, and left out: {left}" if left else ""))


def _format_of(file: Path | None) -> str:
    suffix = "jsonl" if file is None else file.suffix.removeprefix(".").lower()
    if suffix not in _STYLES:
        known = ", ".join(f".{name}" for name in _STYLES)
        raise CommandError(
            f"the name of {file} ends in none of {known}", Exit.USAGE, next_step="name a --format"
        )
    return suffix


@contextmanager
def _target(file: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield the function that writes a text to *file*, or to standard output."""
    if file is None:
        is_terminal = sys.stdout.isatty()
        yield lambda text: sys.stdout.write(printable(text.replace("\r\n", "\n")) if is_terminal else text)
        return
    from hub.base.atomic_file import replaced

    with using(file, "write", Exit.CANNOT_CREATE), replaced(file, mode=0o600) as opened:
        yield lambda text: opened.write(text.encode())


class _ExportFormat(NamedTuple):
    """Format of an export. *text_of*: returns the text of an item, or None if the format has none for it."""

    text_of: Callable[["ExportedItem", Sequence[str]], str | None]
    head: Callable[[Sequence[str]], str] = lambda _: ""
    between: str = ""
    tail: str = ""


def _json(item: "ExportedItem", _: Sequence[str]) -> str:
    import msgspec

    return printable_json(msgspec.json.encode(item).decode())


def _csv_head(fields: Sequence[str]) -> str:
    # a field may have the name of a column about the item
    return csv_line((*_KEYS, *(f"data.{name}" if name in _KEYS else name for name in fields), OTHERS))


def _csv(item: "ExportedItem", fields: Sequence[str]) -> str:
    import msgspec

    others = {
        name: value
        for name, value in item.data.items()
        if name not in fields and (name, value) != ("title", item.title)
    }
    about = (getattr(item, name) for name in _KEYS[:-1])
    places = msgspec.to_builtins(item.places) or None
    return csv_line(map(_cell, (*about, places, *map(item.data.get, fields), others or None)))


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, int | float) else as_text(text)


def _entry(item: "ExportedItem", _: Sequence[str]) -> str | None:
    """Return the entry of a calendar: of a task with a date, or a timeline."""
    from hub.base.clock import epoch_ms
    from hub.text.rows.calendar import text_of
    from hub.text.rows.row import Put
    from protocol.tables import TABLES

    day = {"tasks": "dueDate", "timelines": "date"}.get(item.table, "")
    if not isinstance(item.data.get(day), str):
        return None
    texts = {name: value for name, value in item.data.items() if isinstance(value, str)}
    at_ms = epoch_ms(datetime.fromisoformat(item.found_at))
    return text_of(Put(item.id, TABLES[item.table], {**texts, "title": item.title}, "", at_ms), None)


_STYLES: Final[dict[str, _ExportFormat]] = {
    "csv": _ExportFormat(_csv, _csv_head),
    "jsonl": _ExportFormat(lambda item, fields: f"{_json(item, fields)}\n"),
    "json": _ExportFormat(_json, lambda _: "[\n", ",\n", "\n]\n"),
    "ics": _ExportFormat(
        _entry,
        lambda _: "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//hub//export//EN\r\n",
        tail="END:VCALENDAR\r\n",
    ),
}
