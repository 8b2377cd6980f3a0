"""Facts in generated documents: what they say, who has to do it and when, and their documents."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from hub.app.calibration import Lots
from tests.evaluation.forms.languages import LANGUAGES, Language, When

SAVED: Final = datetime(2025, 12, 20, 9, tzinfo=UTC)  # long after everything that the documents say
PEOPLE: Final = ("Anna", "Boris", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")


class Fact(NamedTuple):
    """Task that a document states, as a person understands it.

    Attributes:
        title: the work, with a number that no other task has.
        sentence: the words that say it, without any markup; a model quotes them.
        who: the person; None if the form has no place for one.
        cue: words that name the person, in the sentence or before it.
        when: words of the date, and the day that they mean; None if there are none.
        table: ``tasks`` or ``timelines``.
    """

    title: str
    sentence: str
    who: str | None
    cue: str
    when: When | None
    table: str = "tasks"


class Paper(NamedTuple):
    """Document of one form, with its facts.

    Attributes:
        modified_at: time of its file.
    """

    form: str
    name: str
    text: str
    facts: tuple[Fact, ...]
    modified_at: datetime = SAVED


class Writer:
    """Source of the sentences of one document, all from a seed.

    Args:
        numbers: numbers of the tasks; no other document has them.
    """

    def __init__(self, seed: object, numbers: Iterator[int]) -> None:
        self.lots = Lots(seed)
        self.language: Language = LANGUAGES[self.lots.one(("en", "en", "en", "de", "fr", "es", "ru"))]
        self.people = self._shuffled(PEOPLE)
        self.facts: list[Fact] = []
        self._numbers = numbers

    def day(self) -> date:
        """Draw a day of writing."""
        return date(2025, 1, 20) + timedelta(days=self.lots.below(240))

    def idle(self, most: int = 3) -> str:
        """Return a few sentences without a task."""
        return " ".join(self.lots.one(self.language.idle) for _ in range(1 + self.lots.below(most)))

    def person(self) -> str:
        """Draw a person."""
        return self.lots.one(self.people)

    def title(self) -> str:
        """Draw the title of a new task."""
        return self.lots.one(self.language.deeds).format(f"{next(self._numbers):04}")

    def other(self, written: date) -> str:
        """State a task of a person whom the sentence names."""
        who = self.person()
        return self._said(self.language.other, written, who, who)

    def own(self, written: date, who: str, cue: str) -> str:
        """State a task of the person who speaks."""
        return self._said(self.language.own, written, who, cue)

    def bullet(self, written: date, who: str, cue: str) -> str:
        """State a task in a line of a list."""
        return self._said(self.language.bullet, written, who, cue)

    def keep(self, fact: Fact) -> str:
        """Add a fact and return its sentence."""
        self.facts.append(fact)
        return fact.sentence

    def _said(self, pattern: str, written: date, who: str, cue: str) -> str:
        title, when = self.title(), self.language.when(self.lots, written)
        sentence = pattern.format(who=who, what=title, when=when.phrase)
        sentence = sentence[:1].upper() + sentence[1:]
        return self.keep(Fact(title, " ".join(sentence.split()), who, cue, when))

    def _shuffled(self, among: Sequence[str]) -> tuple[str, ...]:
        left, drawn = list(among), []
        while left:
            drawn.append(left.pop(self.lots.below(len(left))))
        return tuple(drawn)
