"""Output of commands: tables, times, durations, sizes, QR codes; data on stdout, messages on stderr.

Control characters in text of devices and documents are escaped, so that no file name can control the
terminal. A time in a column has its year only in a later year, or more than half a year away.
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
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import click

from hub.base.clock import Clock, SystemClock, moment_text
from hub.base.name_lists import counted
from hub.base.printable import one_line, printable, printable_json
from hub.cli.errors import CommandError, Exit

NOTHING = "-"
INDENT: Final = 4  # columns before quoted text
NARROW: Final = 20  # columns that a title gets, by folding others, unless it needs less
MIN_FOLDED: Final = 12  # columns of a folded cell
MAX_RANKED: Final = 32  # columns of a cell that may be left out, as a path, while a table is too wide
GAP: Final = "  "  # between columns
FINAL: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})  # states of runs

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
    ask(question, abort=True)


def ask(question: str, *, default: bool = False, abort: bool = False) -> bool:
    """Ask on one line of stderr, with control characters in names of others escaped; return True for yes.

    Raises:
        click.Abort: the answer was no, with *abort*.
    """
    return click.confirm(one_line(question), default=default, abort=abort, err=True)


def print_json(schema: str, value: Mapping[str, Any], *, on_one_line: bool = False) -> None:
    """Print one JSON object, with the name and version of its schema first."""
    fields = {"schema": f"hub.{schema}/1", **value}
    click.echo(printable_json(json.dumps(fields, indent=None if on_one_line else 2, ensure_ascii=False)))


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], below: Sequence[Sequence[str]] = ()
) -> None:
    """Print a table: fitted to ``columns()``, without them as plain columns that are never cut.

    Args:
        headers: ``title!`` is wide before the others, else the last one is; ``device~2`` may be left out
            where the table is too wide, the greatest number first.
        below: lines below each row.
    """
    heads = [_head(header) for header in headers]
    table = [[head.name for head in heads], *([_cell(value) for value in row] for row in rows)]
    widths = [max(cells_of(line[column]) for line in table) for column in range(len(heads))]
    if width := columns():
        widths = _fitted(heads, widths, width)
    for number, line in enumerate(table):
        for text in _lines_of(line, widths):
            click.secho(text, bold=True if number == 0 else None)
        for text in below[number - 1] if number and below else ():
            for part in _wrapped(one_line(text), max(MIN_FOLDED, width - INDENT) if width else None):
                click.echo(" " * INDENT + part)


def _lines_of(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a row, whose cells are folded."""
    shown = [(_wrapped(cell, width), width) for cell, width in zip(line, widths, strict=True) if width]
    for parts in zip_longest(*(cell for cell, _ in shown), fillvalue=""):
        padded = (part + " " * (shown[n][1] - cells_of(part)) for n, part in enumerate(parts))
        yield GAP.join(padded).rstrip()


def _wrapped(text: str, width: int | None) -> list[str]:
    """Return a text in lines of *width*."""
    if width is None or cells_of(text) <= width:
        return [text]
    from rich.console import Console
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(text).wrap(Console(width=width), width, overflow="fold")]


class _ColumnHead(NamedTuple):
    name: str
    rank: int  # the greatest is left out first; 0 is never
    is_title: bool


def _head(header: str) -> _ColumnHead:
    name, _, rank = header.partition("~")
    return _ColumnHead(name.rstrip("!"), int(rank or 0), name[-1:] == "!")


def cells_of(text: str) -> int:
    """Return the columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fitted(heads: Sequence[_ColumnHead], widths: Sequence[int], width: int) -> list[int]:
    """Return the widths with which columns fit into *width*; 0 for those that are left out.

    A title is half as wide as the table, if it needs that, before other columns are shown. It gets what they
    leave, as other prose does. Where all that stay are too wide, the widest are folded.
    """
    fitted, named = list(widths), [place for place, head in enumerate(heads) if head.is_title]
    prose = (named or [len(heads) - 1])[0]
    others = sorted(range(len(heads)), key=lambda place: -heads[place].rank)
    others.remove(prose)
    wide = min(widths[prose], width // 2 if named else NARROW)

    def room() -> int:
        """Return the width that is left for the title or prose."""
        return width - sum(fitted[place] + len(GAP) for place in others if fitted[place])

    ranked = [place for place in others if heads[place].rank]
    if room() < wide:
        for place in ranked:
            fitted[place] = min(widths[place], MAX_RANKED)
    for place in ranked:
        if room() < wide:
            fitted[place] = 0
    while room() < min(wide, NARROW) and any(fitted[place] > MIN_FOLDED for place in others):
        fitted[max(others, key=fitted.__getitem__)] -= 1
    fitted[prose] = max(1, min(widths[prose], room()))
    for place in ranked:
        more = min(widths[place] - fitted[place], room() - fitted[prose])
        fitted[place] += more * bool(fitted[place])
    return fitted


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
    at, now = datetime.fromisoformat(text).astimezone(zone), clock.now().astimezone(zone)
    is_near = abs(at - now) <= timedelta(days=182) and at.year <= now.year
    day = "%m-%d" if is_near else "%Y-%m-%d"
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
    """Count the settled files of a run: ``12/20``, or ``12/?`` while their number is not known."""
    return f"{_settled(run)}/{run['units_total'] if _is_counted(run) else '?'}"


def _settled(run: Mapping[str, Any]) -> int:
    return int(run["units_done"] + run["units_skipped"] + run["units_failed"])


def _is_counted(run: Mapping[str, Any]) -> bool:
    """Return whether the number of files of a run is known."""
    return run["state"] in FINAL or run["units_total"] >= max(1, _settled(run))


def progress_of(run: Mapping[str, Any]) -> str:
    """Describe the progress of a run: settled files and items, or of a task what its program reports."""
    if run["message"] and not run["units_total"]:
        return f"{run['progress']:.0f} %, {run['message']}"
    items = counted(run["items_created"], "item")
    if _is_counted(run):
        return f"{counted(run['units_total'], 'file', settled(run))}, {items}"
    done = _settled(run)
    if run["state"] == "PREPARING" and not done:
        return "looks for files"  # later, some may have arrived of which the run has no count
    return f"{counted(done, 'file')} finished so far, {items}"


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
    # Soft wrap: a command in a line printed above the bar is copied as one line.
    with Progress(*columns, console=Console(stderr=True, soft_wrap=True), transient=True) as bar:
        task = bar.add_task("", total=None, state="", text="")

        def show_step(step: Mapping[str, Any]) -> None:
            run = step["run"]
            doing = run["waiting_for"] or step["working_on"] or ""
            text = Text(printable(f"{progress_of(run)}  {doing}"))
            text.truncate(45, overflow="ellipsis")
            bar.update(
                task,
                total=run["units_total"] or None,
                completed=_settled(run),
                state=run["state"],
                text=text.plain,
            )

        yield show_step


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
