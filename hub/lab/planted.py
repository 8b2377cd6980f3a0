"""Generated documents with known tasks, for a calibration without a gold file; equal at each hub.

The prose around them says nothing that an agent looks for. Its words are drawn by hashes, so that the
documents are the same at each hub. Every sentence with a task or an event is one of several wordings.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

from hub.lab.gold import GoldDocument, Label, LabelValue
from protocol.tables import TableName

Drawn = TypeVar("Drawn")


DOCUMENTS: Final = 4


_FACTS: Final = 120  # in a document of about 12,000 tokens


_EVENT_EVERY: Final = 6  # of so many facts one is an event


_WHO: Final = (
    "Anna",
    "Boris",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Mei",
    "Otto",
)


_DEEDS: Final = (
    "send the offer to {}", "order spare parts for {}", "review the contract with {}", "book a room at {}",
    "pay the invoice of {}", "translate the brochure for {}", "call the architect about {}",
    "collect the keys from {}", "draft the minutes for {}", "check the insurance of {}",
    "repair the heating at {}", "cancel the delivery to {}", "prepare the budget for {}",
    "renew the licence of {}", "count the chairs at {}", "photograph the damage at {}",
    "invite the neighbours of {}", "update the price list for {}", "archive the letters of {}",
    "measure the windows at {}",
)  # fmt: skip


_PLACES: Final = (
    "the town hall", "the old mill", "the harbour office", "the north depot", "the music school",
    "the bakery", "the river hotel", "the garden centre", "the print shop", "the boat club",
    "the city library", "the south gate", "the film studio", "the tram museum", "the glass works",
    "the youth hostel",
    "the fire station", "the corn exchange", "the tennis hall", "the west clinic", "the water tower",
    "the art gallery", "the post room", "the wine cellar",
)  # fmt: skip


_MONTHS: Final = ("January", "March", "May", "June", "September", "October")


_TASKS: Final = (
    "{who} has to {deed} by {day}.", "{who} will {deed} before {day}.", "Could {who} please {deed} by {day}?",
    "It was agreed that {who} should {deed} no later than {day}.", "We still need {who} to {deed} by {day}.",
    "{who} must {deed} before {day}.",
)  # fmt: skip


_EVENTS: Final = (
    "The open day at {place} is on {day}.", "On {day} the market at {place} begins.",
    "The auction at {place} takes place on {day}.",
)  # fmt: skip


_SUBJECTS: Final = (
    "The river", "Our town", "The quiet street behind the station", "This year's harvest", "The weather",
    "The old chronicle", "A long row of poplars", "The first edition of the map", "The colour of the walls",
    "The smell of fresh bread", "The road across the hills", "A painting of the bay",
    "The choir of the village", "The light in the afternoon", "The story of the bridge",
    "The crowd at the fair",
)  # fmt: skip


_PREDICATES: Final = (
    "was calm", "had changed little", "gave pleasure to many", "lay in the sun", "was described with care",
    "reminded everybody of earlier years", "seemed larger than before", "was known far beyond the valley",
    "had a charm of its own", "was never quite the same", "pleased young and old", "was praised by visitors",
    "went on as ever", "looked much as it does in the photographs",
)  # fmt: skip


_ENDS: Final = (
    "for a long time", "as people remember", "in spite of the wind", "until the evening came",
    "although few had expected it", "which surprised nobody", "as it had been the year before",
    "and nobody minded", "while the bells rang", "when the guests arrived", "as the letters tell",
    "in those quiet weeks",
)  # fmt: skip


def planted_documents(count: int = DOCUMENTS, facts: int = _FACTS) -> list[GoldDocument]:
    """Return *count* documents with so many *facts* each; about 100 tokens for each fact."""
    return [_document(number, facts) for number in range(count)]


class Lots:
    """Draws from a seed, the same on every machine."""

    def __init__(self, seed: object) -> None:
        self._seed = seed
        self._drawn = 0

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to *limit* - 1."""
        self._drawn += 1
        digest = hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def choose(self, among: Sequence[Drawn]) -> Drawn:
        """Return one of *among*."""
        return among[self.below(len(among))]


def _document(number: int, facts: int) -> GoldDocument:
    lots = Lots(f"planted {number}")
    labels: list[Label] = []
    text = f"# Notes {number + 1}\n\n"
    for fact in range(facts):
        sentences = [
            f"{lots.choose(_SUBJECTS)} {lots.choose(_PREDICATES)} {lots.choose(_ENDS)}."
            for _ in range(3 + lots.below(3))
        ]
        quote, table, data = _fact(number * facts + fact, lots)
        at = lots.below(len(sentences) + 1)
        text += " ".join([*sentences[:at], ""])
        labels.append(Label(table=table, data=data, places=((len(text), len(text) + len(quote)),)))
        text += " ".join([quote, *sentences[at:]])
        text += "\n\n" if lots.below(3) else " "
    return GoldDocument(
        id=f"planted-{number + 1}",
        text=text,
        labels=tuple(labels),
        date=None,
        name=f"planted-{number + 1}.txt",
        words={},
    )


def _fact(number: int, lots: Lots) -> tuple[str, TableName, dict[str, LabelValue]]:
    """Return a sentence with its table and fields. Each deed at a place comes once."""
    day = f"{1 + lots.below(28)} {lots.choose(_MONTHS)} 2027"
    if number % _EVENT_EVERY == 0:
        quote = lots.choose(_EVENTS).format(place=lots.choose(_PLACES), day=day)
        return quote, TableName.TIMELINES, {"title": quote.partition(" on ")[0]}
    who, deed = (
        lots.choose(_WHO),
        _DEEDS[number % len(_DEEDS)].format(_PLACES[number // len(_DEEDS) % len(_PLACES)]),
    )
    return lots.choose(_TASKS).format(who=who, deed=deed, day=day), TableName.TASKS, {"title": deed}
