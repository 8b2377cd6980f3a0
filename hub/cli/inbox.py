"""Terminal inbox of ``hub review``: layout, keys, and reading of key presses.

The keys are those of the dashboard's page for review. An escape byte without a successor within ``REST_S`` is
the Escape key.
"""

import json
import os
import re
import signal
import sys
import textwrap
from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from select import select
from types import MappingProxyType
from typing import Final, NamedTuple

import click
import msgspec

from hub.base.clock import Clock, epoch_ms, from_epoch_ms, moment_text
from hub.base.dates import dates_as_texts, day_at
from hub.base.name_lists import counted
from hub.base.printable import spelled
from hub.cli.formats import place_of, proposals
from hub.device.device_file import DeviceFileError
from hub.device.held_items import UNSURE_COMMAND, list_held
from hub.device.inbox import Inbox, NotDecided, Verdict
from hub.device.items import (
    DeviceItem,
    OthersProposal,
    is_apart,
    proposed_by_others,
    read_excerpt,
    waits,
    without_repeats,
)
from hub.device.owner import lacking, remedy
from hub.text.excerpt import Excerpt, lines_around, spoken
from protocol.frame import Field, Record
from protocol.items import MARKS, FoundBy, Provenance, Rank, has_each, sought_in
from protocol.tables import SUGGESTED, TABLES, Column, Filler, Kind

_INDENT: Final = 4
_FOLDED: Final = 8  # columns before a continued line, more than before any other line
_MAX_LINES: Final = 5  # of a text, unless it is shown whole
_MAX_CHARACTERS: Final = 400
_MAX_OF_A_LINE: Final = 1_000
_LONG: Final = 2_000  # a column that allows more may have many lines
_LINE: Final = 120
_PLAIN: Final = re.compile(r"[\w.@+/-]+")  # needs no quotation marks
_SHOWN: Final = frozenset({"dueDate", "date", "assignee", "status", "priority", "author"})


def lines_of(
    item: DeviceItem,
    width: int | None,
    *,
    whole: bool = False,
    with_status: bool = False,
    excerpt: Excerpt | None = None,
    others: Iterable[OthersProposal] = (),
) -> Iterator[str]:
    """Yield the lines of an item for review: its title, fields, quote and warnings.

    Text of documents never begins a line: its line feeds are escaped, or its lines begin with ``|``.

    Args:
        width: columns of the terminal; ``None``: no line is broken.
        whole: show texts completely.
        with_status: show the decision of the owner, and the project or task of the item.
        excerpt: lines around the quote, to be shown with it.
        others: what others propose for the item.
    """
    columns = item.declaration.columns
    fields = [
        f"{column.name} {_spelt(column, item.data[column.name], item.remarks.timezone)}"
        for column in columns
        if column.name in item.data and (column.name in _SHOWN or _is_short(item, column))
    ]
    quote = _quoted(spoken(item.quote)) if item.quote else "no quote"
    around = [] if excerpt is None else list(lines_around(excerpt, item.quote or ""))
    yield from _lines(f"{item.label}  {item.table}  {_title(item)}", width)
    below = (
        origin_of(item.remarks.provenance),
        ", ".join(_status(item)) if with_status else "",
        *(place.sentence for place in item.goes_to),
        ", ".join(fields),
        *(day.sentence for day in item.remarks.counted),
        "found by a rule" if item.remarks.found_by is FoundBy.RULE else "",
        *_texts(item, whole=whole),
        f"{_named(item.source_path) if item.source_path else 'no file'}: {'' if around else quote}".rstrip(),
        *around,
        *(f"also in {place_of(other.path, other.line)}: {other.label}" for other in item.also),
        *(f"! {remark}" for remark in _remarks(item)),
        *(_others(item, other) for other in others),
    )
    for line in filter(None, below):
        shown = line if whole or len(line) <= _MAX_OF_A_LINE else f"{line[:_MAX_OF_A_LINE]}… (ls --whole)"
        yield from _lines(" " * _INDENT + shown, width)


def origin_of(provenance: Provenance | None) -> str:
    """Return who wrote the text of an item, for its reviewer; empty for the owner's own files."""
    if provenance is None or provenance.rank is Rank.OWN:
        return ""
    by = f", {provenance.author}" if provenance.author else ""
    return f"from: {provenance.origin}{by}{'' if provenance.trusted else ', not verified'}"


def _status(item: DeviceItem) -> Iterator[str]:
    """Yield the decision of the owner, and the project or task that the item belongs to."""
    yield "approved" if item.data.get("isApproved") else "suggestion"
    if item.verdict == "edited":
        yield "changed by you"
    for column, title in item.belongs_to.items():
        yield f"{column.removesuffix('Id')} {_named(title)}"


def _title(item: DeviceItem) -> str:
    """Return the title; of a comment, which is its own title, only the beginning."""
    is_cut = len(item.title) > _LINE and any(column.name == "content" for column in _long(item))
    return f"{item.title[:_LINE]}…" if is_cut and item.title == item.data.get("content") else item.title


def _is_short(item: DeviceItem, column: Column) -> bool:
    """Return True for a field of an operator's table that fits into a line."""
    is_own = item.table not in TABLES and column.filler is Filler.MODEL
    return is_own and column.name != item.declaration.title and column.max_length <= _LONG


def _long(item: DeviceItem) -> list[Column]:
    """Return the columns whose texts may have many lines."""
    columns = item.declaration.columns
    return [column for column in columns if column.kind is Kind.TEXT and column.max_length > _LONG]


def _texts(item: DeviceItem, *, whole: bool) -> Iterator[str]:
    """Yield the first lines of long texts, as of a note's content, each after a bar."""
    for column in _long(item):
        text = str(item.data.get(column.name, "")).rstrip().replace("\r\n", "\n").expandtabs(4)
        if column.name in _SHOWN or not text or text == _title(item):
            continue
        shown = text if whole else "\n".join(text[:_MAX_CHARACTERS].split("\n")[:_MAX_LINES])
        yield from (f"| {line}" for line in shown.split("\n"))
        if len(shown) < len(text):
            yield f"| … {counted(len(text) - len(shown), 'more character')}: hub review ls --whole"


def _lines(text: str, width: int | None) -> list[str]:
    text = spelled(text)
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=" " * _FOLDED, break_on_hyphens=False)


def _remarks(item: DeviceItem) -> list[str]:
    """Return the warnings and changes that the owner reads before approving an item."""
    remarks = item.remarks
    table = item.declaration
    columns = {column.name: column for column in table.columns}
    lines = [MARKS.get(warning, warning) for warning in remarks.warnings]
    if (column := lacking(table, item.data)) is not None and not item.data.get("isApproved"):
        lines.append(remedy(column, item.label))
    lines += [remark.sentence for remark in remarks.unresolved]
    lines += [
        f"{remark.field} was {_spelt(columns.get(remark.field), remark.before, remarks.timezone)},"
        f" is {_spelt(columns.get(remark.field), remark.after, remarks.timezone)}"
        for remark in remarks.changed
        if not item.data.get("isApproved")  # the owner has seen the change
    ]
    if item.proposal is not None:
        lines += _proposed(item, item.proposal.data, columns)
    if item.source_state is not None:
        named = " or ".join(map(_named, item.source_candidates))
        lines.append(item.source_state.sentence + (f"; it may be {named}" if named else ""))
    if remarks.replaces is not None:
        lines.append(f"replaces the row {remarks.replaces}")
    return lines


def _proposed(item: DeviceItem, data: Record | None, columns: Mapping[str, Column]) -> Iterator[str]:
    """Describe the change, or the deletion, that a hub proposes for a row of its owner."""
    if data is None:
        yield "the hub would delete it"
        return
    zone = item.remarks.timezone
    for name, value in data.items():
        if name not in SUGGESTED:
            before = _spelt(columns.get(name), item.data.get(name), zone)
            yield f"the hub would change {name} from {before} to {_spelt(columns.get(name), value, zone)}"


def _others(item: DeviceItem, one: OthersProposal) -> str:
    """Describe the proposal of another caller at the hub, marked where the quote does not support it."""
    before = dates_as_texts(item.declaration, item.data, item.remarks.timezone)
    proposed = proposals({"data": before, "proposals": [msgspec.to_builtins(one)]})
    return f"? proposed: {proposed}; accept it at the hub: hub open"


def _spelt(column: Column | None, value: Field, zone: str | None) -> str:
    """Return a value as people write it; *zone* is where a day without a time begins."""
    if value is None or value == []:
        return "empty"
    if column is not None and column.kind is Kind.EPOCH_MS and isinstance(value, int):
        if (day := day_at(value, zone)) is not None:
            return day.isoformat()
        return moment_text(from_epoch_ms(value))
    if isinstance(value, list):
        return ", ".join(map(_named, value))
    return _named(value) if isinstance(value, str) else str(value)


def _named(text: str) -> str:
    """Return a name or path; in quotation marks unless it is a plain word."""
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


MIN_LISTED: Final = 3  # lines of the list
MAX_STEPS: Final = 1_000  # decisions to take back, each on one item or several
KEYS: Final[Mapping[str, str]] = {
    "j, k": "next and previous item",
    "a": "approve the item, or those selected",
    "e": "change fields of the item, and approve it",
    "r": "reject the item, or those selected",
    "u": "take the last decision back, then the one before it",
    "R": "reject all items of the file",
    "x": "select the item",
    "A": "select all items without a warning and a proposed change; of marked ones alone, all",
    "Esc": "clear the selection",
    "/": "find a text in titles, values and paths",
    "?": "these keys, until any key; one that is held down counts again and again",
    "q": "end",
}
_ARROWS: Final = {"\x1b[B": "j", "\x1b[A": "k", "\x1bOB": "j", "\x1bOA": "k"}
_KEY: Final = re.compile(r"\x1b[\[O][A-Z]|.", re.DOTALL)  # an arrow is several characters
_CUT: Final = re.compile(r"\x1b[\[O]?\Z")  # Escape, or the beginning of an arrow
REST_S: Final = 0.05  # after which it was Escape
_DONE: Final = {"approve": "approved", "edit": "changed", "reject": "rejected"}
_FIELD: Final = re.compile(r"(?<!\S)(\w++)=")


class _Prompt(NamedTuple):
    """A line that is being typed, and its receiver."""

    label: str
    text: str
    then: Callable[[str], None]


class TerminalInbox:
    """State of the inbox, moved by keys.

    Attributes:
        has_ended: True after the key that ends it.
    """

    def __init__(
        self,
        inbox: Inbox,
        clock: Clock,
        others: Mapping[str, Sequence[OthersProposal]] = MappingProxyType({}),
        held: int = 0,
    ) -> None:
        self._inbox = inbox
        self._held = held  # number of items that the hub holds
        self._others = others
        self._clock = clock
        self._ahead: list[int] | None = None  # numbers of the current item and of those below it
        self._picked: set[int] = set()  # numbers of selected items
        self._find = ""
        self._note = ""
        self._steps = deque[list[int]](maxlen=MAX_STEPS)
        self._prompt: _Prompt | None = None
        self._is_help_shown = False
        self._seen: DeviceItem | None = None  # what the screen shows with all its lines
        self._shown: tuple[object, Excerpt | None] | None = None
        self.has_ended = False
        self._actions: Mapping[str, Callable[[], None]] = {
            "j": lambda: self._move(1),
            "k": lambda: self._move(-1),
            "a": lambda: self._judge("approve"),
            "e": self._edit,
            "r": lambda: self._judge("reject"),
            "u": self._undo,
            "R": self._reject_file,
            "x": self._pick,
            "A": self._pick_all,
            "\x1b": self._picked.clear,
            "/": lambda: self._ask("find", self._find, self._search),
            "?": self._help,
            "q": self._end,
        }

    @property
    def items(self) -> list[DeviceItem]:
        """Items that wait and have the searched text, the newest first."""
        sought = sought_in(self._find)
        return without_repeats(
            item
            for item in sorted(self._inbox.items(), key=is_apart)  # those of unknown authors at the end
            if waits(item) and has_each(sought, _list_texts(item))
        )

    @property
    def item(self) -> DeviceItem | None:
        """The item that is shown in full; None below the last one."""
        items = self.items
        return items[at] if (at := self._place(items)) < len(items) else None

    def _place(self, items: Sequence[DeviceItem]) -> int:
        """Return the place of the current item or, once it is decided, of the first one below it that waits.

        An item that comes meanwhile moves no other one under the fingers.
        """
        if self._ahead is None:
            return 0
        places = {item.number: place for place, item in enumerate(items)}
        return next((places[number] for number in self._ahead if number in places), len(items))

    def _go(self, place: int) -> None:
        self._ahead = [item.number for item in self.items[max(0, place) :]]

    def press(self, key: str) -> None:
        """Handle a key as a terminal sends it."""
        if self._prompt is not None:
            self._type(self._prompt, key)
            return
        action = self._actions.get(_ARROWS.get(key, key))
        if self._is_help_shown:
            self._is_help_shown = False
        elif action is not None:
            self._note = ""
            try:
                action()
            except DeviceFileError as error:
                self._note = str(error)

    def lines(self, width: int, height: int) -> list[str]:
        """Return what is shown on a screen of this size; each line is safe to print."""
        if self._is_help_shown:
            return [f"  {keys:<6}{about}" for keys, about in KEYS.items()][:height]
        items = self.items
        if self._ahead is None and items:
            self._go(0)  # what comes above it from now on is not decided in its place
        item = self.item
        found = f' with "{spelled(self._find)}"' if self._find else ""
        less_sure = f", {self._held} less sure ({UNSURE_COMMAND})" if self._held else ""
        head = f"{len(items)} waiting{found}{less_sure}   j k  a e r u  x A  /  ?  q"
        detail: list[str] = []
        if item is not None:
            others = self._others.get(item.row_id, ())
            detail = [*lines_of(item, width, excerpt=self._excerpt(item), others=others)]
        if item is None and items:
            detail = [self._end_of(items)]
        room = max(MIN_LISTED, height - len(detail) - 4)
        first = max(0, min(self._place(items) - room // 2, len(items) - room))
        number = None if item is None else item.number
        listed = [self._line(item, item.number == number) for item in items[first : first + room]]
        foot = self._note if self._prompt is None else f"{self._prompt.label}: {spelled(self._prompt.text)}_"
        body = [head, *(listed or ["  no item waits"]), "", *detail]
        is_cut = len(body) > height - 2
        self._seen = None if is_cut else item
        if is_cut:
            body[height - 3 :] = [
                f"… {counted(len(body) - height + 3, 'more line')}: enlarge the terminal, or q, hub review ls"
            ]
        return [line[:width] for line in [*body, "", spelled(foot)]]

    def _excerpt(self, item: DeviceItem) -> Excerpt | None:
        version = (item.number, self._inbox.version)
        if self._shown is None or self._shown[0] != version:
            self._shown = version, read_excerpt(self._inbox.path, item)
        return self._shown[1]

    def _line(self, item: DeviceItem, is_current: bool) -> str:
        picked = "x" if item.number in self._picked else " "
        warns = "!" if item.marks else " "
        title = spelled(item.title)
        return f"{'>' if is_current else ' '}{picked}{warns} {item.label:<5} {item.table:<10} {title}"

    def _move(self, step: int) -> None:
        items = self.items
        self._go(min(self._place(items) + step, len(items) - 1))

    def _judge(self, verdict: Verdict, fields: Mapping[str, str] | None = None) -> None:
        """Decide about the selected items, else about the one that is shown."""
        items = self.items
        picked = [item for item in items if item.number in self._picked]
        self._picked.clear()
        item = self.item
        if not picked and item is None:
            self._note = self._end_of(items)
        self._decide(picked or ([] if item is None else [item]), verdict, fields)

    def _end_of(self, items: Sequence[DeviceItem]) -> str:
        return f"no item waits below; {len(items)} above: k" if items else "no item waits"

    def _decide(
        self, them: list[DeviceItem], verdict: Verdict, fields: Mapping[str, str] | None = None
    ) -> None:
        """Decide about items; one with a mark is approved alone, after a question below all of its words."""
        marked = [item for item in them if item.marks and verdict != "reject"]
        if marked and len(them) == 1:
            self._go(next(place for place, item in enumerate(self.items) if item.number == them[0].number))

            def agree(answer: str) -> None:
                if self._seen != them[0]:
                    self._note = "nothing was changed: not all of its words were shown; enlarge the terminal"
                    return
                self._note = "nothing was changed"
                self._give(them if answer.strip().lower() in ("y", "yes") else [], verdict, fields)

            marks = ", ".join(marked[0].marks)
            self._ask(f"marked {marks}: {verdict} this one, with the words above? y, then Enter", "", agree)
            return
        self._give([item for item in them if item not in marked], verdict, fields)
        if marked:
            self._note += f"; {len(marked)} with a mark: {verdict} each alone"

    def _give(self, them: Sequence[DeviceItem], verdict: Verdict, fields: Mapping[str, str] | None) -> None:
        at_ms, done, refused = epoch_ms(self._clock.now()), [], ""
        label = None if self._seen is None else self._seen.label
        shown = {other.label for other in self._seen.also} if self._seen else set()
        shown -= {item.label for item in them}
        self._go(self._place(self.items))
        for item in them:
            try:
                also = shown if item.label == label else ()
                sentence = self._inbox.judge(item, verdict, fields, at_ms=at_ms, also=also)
                done.append(item.number)
            except DeviceFileError as error:
                refused = str(error)
        if done:
            self._steps.append(done)
            what = sentence if len(done) == 1 else f"{_DONE[verdict]}: {counted(len(done), 'item')}"
            self._note = f"{what}; u takes it back"
        if refused:
            more = f" (and {len(them) - len(done) - 1} more)" if len(them) - len(done) > 1 else ""
            self._note = f"{refused}{more}"

    def _edit(self) -> None:
        if (item := self.item) is not None:
            self._ask("FIELD=VALUE ...", "", partial(self._change, item))

    def _change(self, item: DeviceItem, text: str) -> None:
        _, *pairs = _FIELD.split(text)
        fields = {name: value.strip() for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        if not fields:
            self._note = "nothing was changed: type fields as in title=call Ana dueDate=2027-02-03"
        else:
            self._decide([item], "approve", fields)

    def _undo(self) -> None:
        numbers = self._steps.pop() if self._steps else []
        self._note = "taken back" if numbers else "there is nothing to take back"
        for number in numbers:
            try:
                self._inbox.undo(number)
            except NotDecided as error:
                self._note = f"not taken back: {error}"
        if places := [place for place, item in enumerate(self.items) if item.number in numbers]:
            self._go(places[0])

    def _reject_file(self) -> None:
        if (item := self.item) is not None:
            them = [other for other in self.items if other.source_path == item.source_path]
            self._decide(them, "reject")

    def _pick(self) -> None:
        if self.item is not None:
            self._picked ^= {self.item.number}

    def _pick_all(self) -> None:
        items = self.items
        unmarked = [item for item in items if not item.marks] or items
        plain = [item for item in unmarked if item.proposal is None]
        self._picked = {item.number for item in plain}
        changes = len(unmarked) - len(plain)
        self._note = f"{len(plain)} selected"
        self._note += f"; {changes} proposed: select them one by one" if changes else ""

    def _search(self, text: str) -> None:
        self._find, self._ahead = text.strip(), None

    def _help(self) -> None:
        self._is_help_shown = True

    def _end(self) -> None:
        self.has_ended = True

    def _ask(self, label: str, text: str, then: Callable[[str], None]) -> None:
        self._prompt = _Prompt(label, text, then)

    def _type(self, prompt: _Prompt, key: str) -> None:
        """Add a key to the line that is typed; Enter ends it, Escape drops it."""
        if key in ("\r", "\n"):
            self._prompt = None
            prompt.then(prompt.text)
        elif key == "\x1b":
            self._prompt = None
        elif key in ("\x7f", "\b"):
            self._prompt = prompt._replace(text=prompt.text[:-1])
        elif key.isprintable():
            self._prompt = prompt._replace(text=prompt.text + key)


def show_inbox(inbox: Inbox, clock: Clock) -> None:
    """Show the inbox on this terminal until its owner ends it."""
    from rich.console import Console
    from rich.control import Control
    from rich.text import Text

    console = Console(highlight=False)
    held = list_held(inbox.path).total
    shown = TerminalInbox(inbox, clock, proposed_by_others(inbox.path), held)
    with suppress(KeyboardInterrupt, EOFError), console.screen() as screen:

        def draw() -> None:
            lines = shown.lines(console.width, console.height)
            console.control(Control.home())
            screen.update(Text("\n".join(lines), no_wrap=True, overflow="crop"))

        with keys_of(draw) as read:
            while not shown.has_ended:
                for key in _KEY.findall(read()):
                    if not shown.has_ended:
                        shown.press(key)
                draw()


@contextmanager
def keys_of(draw: Callable[[], None]) -> Iterator[Callable[[], str]]:
    """Yield a function that waits for keys. None is lost between two calls, as each is read at once.

    After Ctrl-Z and ``fg`` the terminal is as the shell has it: its mode is set, and the screen drawn, again.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        draw()
        yield click.getchar
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    # A signal between two instructions would be noticed after the next key, which a terminal that is left
    # for the shell keeps until Return: so each signal is a byte beside the keys.
    earlier = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGCONT, lambda *_: None)
    decoder = getincrementaldecoder("utf-8")("ignore")

    def read() -> str:
        while True:
            ready, _, _ = select([terminal, woken], [], [])
            if woken not in ready:
                return _read(terminal, decoder)
            os.read(woken, 1_024)
            tty.setcbreak(terminal, termios.TCSADRAIN)
            draw()

    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)
        draw()
        yield read
    finally:
        signal.signal(signal.SIGCONT, handler)
        signal.set_wakeup_fd(earlier)
        os.close(woken)
        os.close(wakes)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _read(terminal: int, decoder: IncrementalDecoder) -> str:
    """Return the keys that were typed, each whole; wait for one."""
    text = ""
    while not text or (_CUT.search(text) and select([terminal], [], [], REST_S)[0]):
        typed = os.read(terminal, 1_024)
        if not typed:
            raise EOFError
        text += decoder.decode(typed)
    return text


def _list_texts(item: DeviceItem) -> list[str]:
    return [item.title, item.source_path or "", *item.marks, *map(str, item.data.values())]
