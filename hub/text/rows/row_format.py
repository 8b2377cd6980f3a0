"""Form of the rows in a text: which parts of it are rows, and how they are written."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from hub.text.rows.row import Fields, Put
from protocol.tables import DeviceTable


class Piece(NamedTuple):
    """Part of a text that is one row: its place from *start* to *end*, with the end of its line.

    *former*: the fields as former releases wrote them, if they spelled words in another way. *context*: text
    elsewhere, as a header, that decides what the fields are.
    """

    key: str
    start: int
    end: int
    fields: Fields
    former: Mapping[str, str] = {}
    context: str = ""


class Format(Protocol):
    """Form of the rows in a text, whose line ends are line feeds here.

    *kind*: the kind of its sinks; *newline*: how the lines of a new file end.
    """

    kind: str
    newline: str = "\n"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        """Yield the rows of the keys of *tables*, in order; all else belongs to others."""

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        """Return a row for *text*, in place of *piece*, whose other marks it keeps."""

    def insert(self, text: str, put: Put) -> str:
        """Return the text with a new row, at its end."""
        return with_line(text, self.rendered(put, text, None))


def with_line(text: str, line: str) -> str:
    """Return *text* with a line at its end."""
    return text + ("\n" if text and not text.endswith("\n") else "") + line
