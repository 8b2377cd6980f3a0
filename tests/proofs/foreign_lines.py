"""Days that rules take from words of other languages: ``python -m tests.proofs.foreign_lines``.

``foreign_lines.tsv`` has lines of notes in five languages that rules do not read, each with the days that it
names when it is written on 28 November 2026: language, line, ISO dates with blanks between them. The rules of
a hub read a file of each line, and one of all lines of a language, as they are and as check boxes. A day that
its line does not name is a fault if a word of another language tells it. Then ``hub up`` over a folder of
prose in Polish and Icelandic must name both languages in one line.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import anyio.to_thread

from hub.base.clock import from_epoch_ms
from hub.extraction.extractor import Extractor
from hub.extraction.items import Item
from tests.proofs.beside import OPTIONS, document, extractor_of_hub
from tests.scenarios.program import Verdict, run
from tests.scenarios.test_up import Home, kill, runs

BOX: Final = "- [ ] "
_WORD: Final = re.compile(r"(?<!\[)[^\W\d_]+")  # not the sign of a box that is ticked
_MONTHS: Final = {  # beginnings of names of months, in small letters
    "pl": "stycz lut mar kwie maj czerw lip sierp wrze paźdz listopad grud",
    "cs": "led únor břez dub květ červ srp září říj listopad prosin",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}
_POLISH: Final = (
    "W weekend byliśmy na działce i prawie cały czas padało. Dzieci grały w karty, a babcia upiekła ciasto.\n"
    "Muszę pamiętać, żeby zadzwonić do hydraulika, bo kran nadal przecieka.\n",
    "Zebranie poszło dobrze, ale nie ustaliliśmy, kto zajmie się jedzeniem. Janek porozmawia ze\n"
    "spółdzielnią, a Ania napisze do nich list. Nie wiadomo, czy wszyscy przyjdą.\n",
    "Przeczytałam książkę, którą mi pożyczyłaś, i bardzo mi się podobała. Tylko zakończenie było dziwne.\n"
    "Spotkajmy się na kawie, jak już wrócisz do Krakowa.\n",
    "Trzeba by wreszcie odmalować przedpokój, ale nie mamy na to czasu. Piotrek mówi, że zrobi to sam,\n"
    "jeśli kupimy farbę. Na razie odkładamy pieniądze na nową lodówkę.\n",
)
_ICELANDIC: Final = (
    "Við fórum upp í sumarbústað um helgina og það rigndi allan tímann. Börnin spiluðu og amma bakaði\n"
    "pönnukökur. Ég þarf að muna eftir að hringja í píparann því kraninn lekur enn þá.\n",
    "Fundurinn gekk vel en við eigum eftir að ákveða hver sér um matinn. Jón ætlar að tala við húsfélagið\n"
    "og Guðrún skrifar þeim bréf. Það er ekki víst að allir komist.\n",
    "Ég las bókina sem þú lánaðir mér og hún var mjög skemmtileg. Mér fannst endirinn samt skrýtinn.\n"
    "Við skulum hittast yfir kaffi og tala um hana þegar þú kemur aftur til Reykjavíkur.\n",
)


class Line(NamedTuple):
    """Line of a note, and the days that it names, as ISO dates."""

    language: str
    text: str
    days: frozenset[str]

    @property
    def as_box(self) -> "Line":
        """The line as an open check box, unless it is a box already."""
        return self if self.text.startswith("- [") else self._replace(text=BOX + self.text)


class Reading:
    """Result of the rules for files of one kind.

    Attributes:
        items: number of items. *dated*: of those with a day.
        complete: number of lines all of whose days were found.
        false: lines with a day that they do not name, the day, and what tells it.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.items, self.dated, self.complete = 0, 0, 0
        self.false: list[tuple[Line, str, str]] = []
        self._extractor = extractor

    async def read(self, lines: Sequence[Line]) -> None:
        """Read one file of these lines."""
        found = await self._days_by_line([line.text for line in lines])
        for nth, line in enumerate(lines):
            days = found.get(nth, {})
            self.complete += bool(line.days) and line.days <= days.keys()
            for day in days.keys() - line.days:
                texts = [other.text for other in lines]
                texts[nth] = _WORD.sub("xx", line.text)
                is_of_figures = day in (await self._days_by_line(texts, is_counted=False)).get(nth, {})
                self.false.append((line, day, "its figures" if is_of_figures else told_by(line, days[day])))

    async def _days_by_line(
        self, texts: Sequence[str], *, is_counted: bool = True
    ) -> dict[int, dict[str, str]]:
        """Return the days of the items of a file, by the number of their line, with the words of each day."""
        text = "".join(f"{line}\n" for line in texts)
        found: dict[int, dict[str, str]] = {}
        for item in (await self._extractor.extract(document("notes.txt", text), OPTIONS)).items:
            days = dict(days_of(item))
            found.setdefault(text.count("\n", 0, item.start), {}).update(days)
            self.items += is_counted
            self.dated += is_counted and bool(days)
        return found

    @property
    def foreign(self) -> int:
        """Number of days from a word of another language."""
        return sum(source == "a word of another language" for _, _, source in self.false)

    def shown(self, way: str, named: int) -> Iterator[str]:
        """Yield the figures, and each false day."""
        yield (
            f"{way}: {self.items} items, {self.dated} with a day; {self.complete} of {named} lines with days "
            f"read completely; days that the line does not name: {len(self.false)}, from a word of another "
            f"language: {self.foreign} of 0 allowed"
        )
        for line, day, source in self.false:
            yield f"  {line.language}: {line.text} -> {day}, from {source}"


def told_by(line: Line, words: str) -> str:
    """Return which words tell a day that the figures of a line do not tell."""
    months = tuple(_MONTHS[line.language].split())
    is_own = any(word.lower().startswith(months) for word in _WORD.findall(words))
    return "a month of its own language" if is_own else "a word of another language"


def days_of(item: Item) -> Iterator[tuple[str, str]]:
    """Yield each day of an item, as an ISO date, with the words that tell it."""
    zone = ZoneInfo(OPTIONS.timezone)
    for field in ("dueDate", "date"):
        if isinstance(at := item.data.get(field), int):
            yield from_epoch_ms(at).astimezone(zone).date().isoformat(), item.words.get(field, "")


def lines() -> list[Line]:
    """Return the lines of the list."""
    rows = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    return [
        Line(language, text, frozenset(days.split()))
        for language, text, days in (row.split("\t") for row in rows)
    ]


@contextmanager
def home(folder: Path) -> Iterator[Home]:
    """Home of a person whose ``~/notes`` has prose alone; what was started there is ended by its id."""
    found = Home(folder)
    (found.notes / "rossi.md").unlink()
    for language, texts in (("polish", _POLISH), ("icelandic", _ICELANDIC)):
        for nth, text in enumerate(texts):
            (found.notes / f"{language}{nth}.txt").write_text(text, encoding="utf-8")
    try:
        yield found
    finally:
        try:
            found.hub("down")
        finally:
            for started in found.state.glob("up/*.pid"):
                if runs(pid := int(started.read_text())):
                    kill(pid)


def said_by_up(folder: Path) -> list[str]:
    """Return the lines of ``hub up`` that name a language."""
    with home(folder) as typed:
        printed = typed.hub("up", str(typed.notes), "--no-browser").splitlines()
    return [line for line in printed if "in Polish" in line or "in Icelandic" in line]


async def play(folder: Path) -> Verdict:
    """Read lines of five languages that rules do not read, and the answer of hub up to two of them."""
    told, foreign, dated, every = list[str](), 0, 0, lines()
    named = sum(bool(line.days) for line in every)
    async with extractor_of_hub() as (extractor, _):
        for kind, written in (("", every), (" as a check box", [line.as_box for line in every])):
            alone, together = Reading(extractor), Reading(extractor)
            for line in written:
                await alone.read([line])
            for language in _MONTHS:
                await together.read([line for line in written if line.language == language])
            told += alone.shown(f"each line{kind} in a file of its own", named)
            told += together.shown(f"each line{kind} in a file of its language", named)
            foreign += alone.foreign + together.foreign
            dated += min(alone.dated, together.dated)
    said = await anyio.to_thread.run_sync(said_by_up, folder)
    told += (f"hub up: {line}" for line in said or ["names no language"])
    parts = f"{len(_POLISH)} files in Polish", f"{len(_ICELANDIC)} files in Icelandic", "hub help models"
    is_named = len(said) == 1 and all(part in said[0] for part in parts)
    told.append(f"hub up names both languages and the remedy in one line: {'yes' if is_named else 'no'}")
    told.append(f"{len(every)} lines: {foreign} days from words of other languages, {dated} items with a day")
    return "\n".join(told), foreign == 0 and dated > 0 and is_named


if __name__ == "__main__":
    run(play)
