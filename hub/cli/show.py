"""Output of commands: tables, times, durations, sizes, QR codes; data on stdout, messages on stderr.

Control characters in text of devices and documents are escaped, so that no file name can control the
terminal. A time in a column has its year only if it is more than half a year away.
"""

import io
import json
import locale
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import click

from hub.base.clock import Clock, SystemClock, moment_text
from hub.base.printable import one_line, printable, printable_json
from hub.cli.errors import CommandError, Exit

NOTHING = "-"
INDENT: Final = 4  # columns before quoted text
NARROW = 20  # columns; cells of at most this width are not folded

clock: Clock = SystemClock()  # times far from now are shown with the year


def out(text: str = "", *, end: str = "\n") -> None:
    """Print lines on stdout. No other function of the command line prints text there."""
    click.echo(printable(text) + end, nl=False)


def can_print(text: str) -> bool:
    """Return True if stdout, and a terminal of this machine's locale, have the characters of *text*."""
    try:
        for encoding in (sys.stdout.encoding, locale.getencoding()):  # stdout is UTF-8 in the locale C, too
            text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def qr_code(text: str) -> None:
    """Print *text* as a QR code on stdout, dark on white, whatever the colours of the terminal are."""
    import segno

    blocks = io.StringIO()
    segno.make_qr(text).terminal(blocks, compact=True)
    for line in blocks.getvalue().splitlines():
        click.secho(line, fg="bright_white", bg="black")


def quote(text: str, *, mark: str = "") -> None:
    """Print quoted text after an empty line, indented, so that it differs from the command's own lines.

    Args:
        mark: text before the first line.
    """
    out()
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        out(f"{(mark if number == 0 else '').rjust(INDENT - 1)} {line}".rstrip())


def report(*lines: str) -> None:
    """Print each of *lines* on one line of stderr, with line feeds and control characters escaped."""
    for line in lines:
        click.echo(one_line(line), file=sys.stderr)  # with err=True past the bar of ``following``


def confirm(question: str) -> None:
    """Ask before something is destroyed.

    Raises:
        Failure: there is no terminal to ask at.
        click.Abort: the answer was no.
    """
    if not sys.stdin.isatty():
        raise CommandError(
            f"not done: {question}", Exit.USAGE, next_step="without a terminal, confirm with --yes"
        )
    click.confirm(question, abort=True, err=True)


def print_json(schema: str, value: Mapping[str, Any], *, on_one_line: bool = False) -> None:
    """Print one JSON object, with the name and version of its schema first."""
    fields = {"schema": f"hub.{schema}/1", **value}
    click.echo(printable_json(json.dumps(fields, indent=None if on_one_line else 2, ensure_ascii=False)))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: fitted to ``columns()``, without them as plain columns that are never cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    if width := columns():
        _print_rich_table(headers, cells, width)
        return
    widths = [max(len(line[column]) for line in [headers, *cells]) for column in range(len(headers))]
    for line in [headers, *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def columns() -> int | None:
    """Return the columns of $COLUMNS, else of the terminal; None if the output is redirected and has none."""
    return shutil.get_terminal_size((80 if sys.stdout.isatty() else 0, 24)).columns or None


def print_facts(facts: Mapping[str, object], *, err: bool = False) -> None:
    """Print names and values, one pair a line, on stdout, or on stderr before a question."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}", err=err)


def issue_lines(issue: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about an issue: severity, sentence, id and start, then what corrects it."""
    since = "" if issue["since"] is None else f", since {moment(issue['since'])}"
    yield f"{issue['severity']}: {one_line(issue['explanation'])} ({issue['id']}{since})"
    yield f"  {one_line(issue['fix'])}"
    for fix in issue["fixes"]:
        if fix["command"] not in issue["fix"]:
            yield f"  {fix['title']}: {one_line(fix['command'])}"


def moment(text: str | None, zone: tzinfo | None = None) -> str:
    """Format a time of the REST interface, in a zone or in this machine's: ``2026-01-05 09:14 +01:00``."""
    return NOTHING if text is None else moment_text(datetime.fromisoformat(text), zone)


def column_moment(text: str | None, zone: tzinfo | None = None, *, seconds: bool = False) -> str:
    """Format a time for a column, whose header has the zone: ``01-05 09:14``; with the year if far off."""
    if text is None:
        return NOTHING
    at = datetime.fromisoformat(text).astimezone(zone)
    day = "%m-%d" if abs(at - clock.now()) <= timedelta(days=182) else "%Y-%m-%d"
    return at.strftime(f"{day} %H:%M:%S" if seconds else f"{day} %H:%M")


def in_zone(header: str) -> str:
    """Return the header of a column of short moments, with the zone: ``started (UTC)``."""
    return f"{header} ({zone_here()})"


def zone_here() -> str:
    """Return the name of this machine's time zone: ``UTC``, ``CET/CEST``."""
    return "/".join(time.tzname) if time.daylight else time.tzname[0]


def origin(source: str) -> str:
    """Return the name of a place of declaration: ``hub.toml``, ``the API``, ``template``."""
    return {"file": "hub.toml", "api": "the API"}.get(source, source)


def by(move: Mapping[str, Any]) -> str | None:
    """Return the author of a change: ``operator anna``; the id of a device without a name is left out."""
    actor, name = move["actor"], move.get("actor_name")
    kind = (actor or "").partition(":")[0]
    return f"{kind} {name}" if name else "its device" if kind == "device" else actor


def short_id(id: str) -> str:
    """Return the end of an id, which commands accept for the whole, because ids of one time begin alike."""
    return id[-8:]


def duration(seconds: float) -> str:
    """Format a duration with its two largest units: ``1 d 2 h``, ``3 min 5 s``."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def took(seconds: float) -> str:
    """Format a duration in seconds: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 d 4 h``."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def settled(run: Mapping[str, Any]) -> str:
    """Count the settled files of a run: ``12/20``, or ``12`` while their number is not known."""
    settled, total = run["units_done"] + run["units_skipped"] + run["units_failed"], run["units_total"]
    return f"{settled}/{total}" if total >= settled else str(settled)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def progress_of(run: Mapping[str, Any]) -> str:
    """Describe the progress of a run: settled files and items, or of a task what its program reports."""
    if run["message"] and not run["units_total"]:
        return f"{run['progress']:.0f} %, {run['message']}"
    return f"{settled(run)} files, {counted(run['items_created'], 'item')}"


@contextmanager
def following() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that shows a step of a run on stderr: as a bar on a terminal, else as lines."""
    if sys.stderr.isatty():
        with _bar() as show_step:
            yield show_step
        return
    last: tuple[str, str | None] = ("", None)

    def show_line(step: Mapping[str, Any]) -> None:
        nonlocal last
        run = step["run"]
        now = ", ".join(filter(None, (run["state"], run["waiting_for"])))
        if (now, run["message"]) != last:
            report(f"{now}: {progress_of(run)}")
        last = (now, run["message"])

    yield show_line


@contextmanager
def _bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.fields[state]}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, state="", text="")

        def show_step(step: Mapping[str, Any]) -> None:
            run = step["run"]
            doing = run["waiting_for"] or step["working_on"] or ""
            text = Text(printable(f"{progress_of(run)}  {doing}"))
            text.truncate(45, overflow="ellipsis")
            settled = run["units_done"] + run["units_skipped"] + run["units_failed"]
            bar.update(
                task,
                total=run["units_total"] or None,
                completed=settled,
                state=run["state"],
                text=text.plain,
            )

        yield show_step


def _print_rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, header in enumerate(headers):
        widest = max(len(row[number]) for row in [headers, *rows])
        # Names and ids stay whole, for copying, unless they leave no room; the last column is prose.
        is_whole = widest <= (width // 2 if number == 0 else NARROW) and (number < max(1, len(headers) - 1))
        table.add_column(header, no_wrap=is_whole, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: brackets in a name are not markup
    Console(width=width).print(table)


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
