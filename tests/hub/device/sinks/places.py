"""Places of each kind with data of others in them, as targets; the plays of a target are the same for all."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from hub.device.sinks.calendar import Calendar
from hub.device.sinks.lines import Markdown, TodoTxt
from hub.device.sinks.records import Csv, JsonLines
from hub.device.sinks.target import Target
from hub.device.sinks.text_file import Format, TextFile, spliced
from protocol.tables import TABLES

# Text of others around the rows, and how a person ticks a task off.
FILES: Final[dict[str, tuple[Callable[[], Format], str, str, tuple[str, str]]]] = {
    "markdown": (Markdown, "# Mine\n\n- [ ] of others ^abc\n\ttext\n", "", ("[ ] Call", "[x] Call")),
    "todo.txt": (TodoTxt, "(B) of others +x due:2027-01-01\nx done\n", "", ("Call", "x Call")),
    "csv": (
        Csv,
        'id,title,mine,status,priority,dueDate\n1,"of\nothers",7,a,b,c\n',
        "",
        ("todo", "done"),
    ),
    "jsonl": (JsonLines, '{"id": 1, "title": "of others"}\nno json\n', "", ("todo", "done")),
    "ics": (
        Calendar,
        "BEGIN:VCALENDAR\nVERSION:2.0\nX-MINE:1\nBEGIN:VTODO\nUID:1\nSUMMARY:of\n  others\nEND:VTODO\n",
        "END:VCALENDAR\n",
        ("STATUS:NEEDS-ACTION", "STATUS:COMPLETED"),
    ),
}
KINDS: Final = (*FILES,)


class Place(Protocol):
    """Place with data of others, and what other programs and people do there."""

    target: Target

    def open(self) -> Target:
        """Return a target of a process of its own."""

    def settings(self) -> Mapping[str, str]:
        """Return the settings of the place in device.toml."""

    def read_only(self) -> Target:
        """Return a target that cannot be written."""

    @property
    def text(self) -> str:
        """All rows, and data of others."""

    def rename(self, old: str, new: str) -> None:
        """Replace words in a row."""

    def tick(self) -> None:
        """Mark the only row as done."""

    def save(self) -> Any:
        """Return all data, for ``restore``."""

    def restore(self, saved: Any) -> None:
        """Replace all data."""

    def vanish(self) -> None:
        """Lose all data."""

    def change_others(self) -> None:
        """Change data of others, as another program does."""

    def others(self) -> str:
        """Return the data of others."""


class FilePlace:
    """File of a kind with text of others."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.form, self.head, self.tail, self._tick = FILES[kind]
        self._kind = kind
        self.path = folder / f"there.{kind}"
        self.path.write_text(self.head + self.tail)
        self.target: Target = self.open()

    def open(self) -> Target:
        return TextFile(self.path, self.form())

    def settings(self) -> Mapping[str, str]:
        return {"kind": self._kind, "path": str(self.path)}

    def read_only(self) -> Target:
        return TextFile(Path("/sys/there"), self.form())

    @property
    def text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def rename(self, old: str, new: str) -> None:
        assert old in self.text
        self.path.write_text(self.text.replace(old, new, 1))

    def tick(self) -> None:
        self.rename(*self._tick)

    def save(self) -> str:
        return self.text

    def restore(self, saved: str) -> None:
        self.path.write_text(saved)

    def vanish(self) -> None:
        self.path.unlink()

    def change_others(self) -> None:
        self.rename("of", "of all")

    def others(self) -> str:
        keys = dict.fromkeys(re.findall("hub-[a-z2-7]{16}", self.text), TABLES["tasks"])
        return spliced(self.form(), self.text, (), keys, keys)
