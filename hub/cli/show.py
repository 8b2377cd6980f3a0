"""What people and scripts see: tables, sentences, JSON. Data to stdout, prose to stderr.

What comes from devices and documents is shown without control characters, so that
no file name can drive the terminal.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import click

from hub.cli.failure import Exit, Failure
from hub.clock import Clock, SystemClock
from hub.printable import one_line, printable, printable_json

NOTHING = "-"
SHORT_ID = 8
INDENT: Final = 4  # of text of others
NARROW = 20  # columns; what is no wider than this is not worth folding
HALF_A_YEAR: Final = timedelta(days=182)

clock: Clock = SystemClock()  # what is far from its time is told with the year


def out(text: str = "", *, end: str = "\n") -> None:
    """Print lines on stdout. No other function of the command line prints text there."""
    click.echo(printable(text) + end, nl=False)


def quote(text: str, *, mark: str = "") -> None:
    """Print text of others, after an empty line: indented, so that no line of it looks like one of ours.

    Args:
        mark: what stands before its first line.
    """
    out()
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        out(f"{(mark if number == 0 else '').rjust(INDENT - 1)} {line}".rstrip())


def say(*lines: str) -> None:
    """Print *lines* for a person on stderr. Each stays one line, whatever text of others is in it."""
    for line in lines:
        click.echo(one_line(line), err=True)


def confirm(question: str) -> None:
    """Ask before something is destroyed. Without a terminal nobody can answer, so it is not done.

    Raises:
        Failure: it was not confirmed.
    """
    if not sys.stdin.isatty():
        raise Failure(f"not done: {question}", Exit.USAGE, next_step="say --yes where nobody can be asked")
    click.confirm(question, abort=True, err=True)


def print_json(schema: str, value: Mapping[str, Any], *, on_one_line: bool = False) -> None:
    """One object, with the name and version of its shape first."""
    told = {"schema": f"hub.{schema}/1", **value}
    click.echo(printable_json(json.dumps(told, indent=None if on_one_line else 2, ensure_ascii=False)))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: fitted to a terminal; elsewhere columns of plain text, never cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(headers, cells)
        return
    widths = [max(len(line[column]) for line in [headers, *cells]) for column in range(len(headers))]
    for line in [headers, *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    for line in _facts(facts):
        click.echo(line)


def say_facts(facts: Mapping[str, object]) -> None:
    """The same for a person who is about to be asked something."""
    for line in _facts(facts):
        click.echo(line, err=True)


def _facts(facts: Mapping[str, object]) -> Iterator[str]:
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        yield f"{name.ljust(width)}  {_cell(value)}"


def moment(told: str | None, zone: tzinfo | None = None) -> str:
    """A time of the REST interface as people read it: ``2026-01-05 09:14:00 +01:00``.

    Args:
        zone: where; this machine's own by default.
    """
    if told is None:
        return NOTHING
    at = datetime.fromisoformat(told).astimezone(zone)
    return f"{at:%Y-%m-%d %H:%M:%S} {offset(at)}"


def short_moment(told: str | None, zone: tzinfo | None = None, *, seconds: bool = False) -> str:
    """A time for a narrow column, which says the zone: ``01-05 09:14``, with the year when it is far off."""
    if told is None:
        return NOTHING
    at = datetime.fromisoformat(told).astimezone(zone)
    is_near = abs(at - clock.now()) <= HALF_A_YEAR
    clock_time = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    return f"{at:%m-%d} {clock_time}" if is_near else f"{at:%Y-%m-%d} {clock_time}"


def offset(at: datetime) -> str:
    """How far *at* is from UTC: ``+01:00``, or ``UTC`` itself."""
    told = at.strftime("%z")
    return f"{told[:3]}:{told[3:5]}" if at.utcoffset() else "UTC"


def in_zone(header: str) -> str:
    """The header of a column of short moments: ``started (UTC)``."""
    return f"{header} ({zone_here()})"


def zone_here() -> str:
    """This machine's time zone: ``UTC``, ``CET/CEST``."""
    return "/".join(time.tzname) if time.daylight else time.tzname[0]


def origin(source: str) -> str:
    """Where something is declared, as people say it: ``hub.toml``, ``the API``, ``template``."""
    return {"file": "hub.toml", "api": "the API"}.get(source, source)


def mover(actor: str | None) -> str | None:
    """Who moved an agent; a device moves its own agents only, so its id says nothing more."""
    return "its device" if actor is not None and actor.startswith("device:") else actor


def short_id(id: str) -> str:
    """The end of a run's id, which commands take for the whole: ids of one time begin alike."""
    return id[-SHORT_ID:]


def duration(seconds: float) -> str:
    """``1 d 2 h``, ``3 min 5 s``: the two largest units."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def settled(run: Mapping[str, Any]) -> str:
    """How many of a run's files are settled: ``12/20``."""
    return f"{run['units_done'] + run['units_skipped'] + run['units_failed']}/{run['units_total']}"


def progress_of(run: Mapping[str, Any]) -> str:
    """How far a run is, in a few words."""
    return f"{settled(run)} files, {run['items_created']} items"


@contextmanager
def following() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Shows each step of a run on stderr: a bar on a terminal, else a line for each new state."""
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
        return
    last = ""

    def tell_line(step: Mapping[str, Any]) -> None:
        nonlocal last
        run = step["run"]
        now = ", ".join(filter(None, (run["state"], run["waiting_for"])))
        if now != last:
            say(f"{now}: {progress_of(run)}")
        last = now

    yield tell_line


@contextmanager
def _bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.fields[state]}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, state="", told="")

        def tell(step: Mapping[str, Any]) -> None:
            run = step["run"]
            at_hand = run["waiting_for"] or step["working_on"] or ""
            told = Text(printable(f"{progress_of(run)}  {at_hand}"))
            told.truncate(45, overflow="ellipsis")
            settled = run["units_done"] + run["units_skipped"] + run["units_failed"]
            bar.update(
                task,
                total=run["units_total"] or None,
                completed=settled,
                state=run["state"],
                told=told.plain,
            )

        yield tell


def _print_rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, header in enumerate(headers):
        widest = max(len(row[number]) for row in [headers, *rows])
        # A name or an id is to be copied whole; the last column is prose.
        is_whole = number == 0 or (widest <= NARROW and number < len(headers) - 1)
        table.add_column(header, no_wrap=is_whole, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: a name with brackets in it is no markup
    Console().print(table)


def _cell(value: object) -> str:
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(_cell, value)) or NOTHING
        case _:
            return one_line(str(value))
