"""Drawn pairs of a line of an owner and a mail of a stranger, and what holds for their rows afterwards.

What is right was written before the first play: ``wrong_about`` names each row that is not as it has to be.
"""

import random  # noqa: TID251 - the same draw each time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import product
from typing import Any, Final, NamedTuple

from hub.base.dates import day_at
from hub.text.folding import fold
from protocol.calls import RowState
from protocol.frame import Record

_DONE: Final = ("clean", "paint", "measure", "insure", "photograph", "sell", "inspect", "replace")
_THINGS: Final = (
    *("kitchen", "bicycle", "garage", "piano", "balcony", "boiler", "fence", "chimney", "greenhouse"),
    *("trailer", "staircase", "terrace", "workshop", "attic", "cellar", "sauna", "pergola", "carport"),
    *("hallway", "fireplace", "driveway", "doorbell", "letterbox", "skylight", "bookcase"),
)
# The words of a mail about a thing; those of the first are the line's.
_WORDINGS: Final = (
    "Please {verb} the {thing}{by}.",
    "Please {verb} the {thing}{by}. Thank you very much.",
    "Could you please {verb} the old {thing}{by}?",
    "Please {verb} {thing}{by}!",
)
_MAIL: Final = (
    "From: Mallory <mallory@evil.example>\r\nTo: owner@example.org\r\nSubject: About the {thing}\r\n"
    "Date: Mon, 5 Jan 2026 08:00:00 +0000\r\nMessage-ID: <{name}@evil.example>\r\n\r\n{text}\r\n"
)


class Order(StrEnum):
    """First arrival, and its owner's decision before the other one arrives."""

    OWN_FIRST = "own first"
    MAIL_FIRST = "mail first"
    AT_ONCE = "both in one run"
    MAIL_REJECTED = "mail rejected, then own"
    OWN_REJECTED = "own rejected, then mail"
    MAIL_APPROVED = "mail approved, then own"
    OWN_TWICE = "own, then own in another note"
    OWN_APPROVED = "own approved, then mail"  # as many as are rejected, or further ones are held by design


class Placed(NamedTuple):
    """Row of a device: its fields, the path of its source, its marks and its state."""

    data: Record
    path: str
    marks: Sequence[str]
    state: str
    timezone: str | None

    @property
    def day(self) -> date | None:
        at_ms = self.data.get("dueDate")
        return day_at(at_ms, self.timezone) if isinstance(at_ms, int) else None


class Pair(NamedTuple):
    """Line of an owner, and words of a stranger about the same thing."""

    name: str
    verb: str
    thing: str
    order: Order
    wording: str
    own_day: date | None
    mail_day: date | None
    writes_day: bool  # in the words of the line, and not behind a sign

    @property
    def note(self) -> str:
        return f"{self.name}.md"

    @property
    def mail(self) -> str:
        return f"{self.name}.eml"

    @property
    def title(self) -> str:
        day = f" by {self.own_day:%-d %B %Y}" if self.own_day and self.writes_day else ""
        return f"{self.verb} the {self.thing}{day}"

    @property
    def line(self) -> str:
        sign = f" 📅 {self.own_day}" if self.own_day and not self.writes_day else ""
        return f"- [ ] {self.title}{sign}\n"

    @property
    def words(self) -> str:
        by = f" by {self.mail_day:%-d %B %Y}" if self.mail_day else ""
        return self.wording.format(verb=self.verb, thing=self.thing, by=by)

    @property
    def message(self) -> str:
        return _MAIL.format(thing=self.thing, name=self.name, text=self.words)

    def texts(self, phase: int) -> dict[str, str]:
        """Return the files that are there in a phase, 0 or 1."""
        own, mail = {self.note: self.line}, {self.mail: self.message}
        match self.order:
            case Order.AT_ONCE:
                return own | mail
            case Order.OWN_TWICE:
                return own | ({f"again-{self.note}": f"# Again\n\n{self.line}"} if phase else {})
            case Order.OWN_FIRST | Order.OWN_REJECTED | Order.OWN_APPROVED:
                return own | (mail if phase else {})
            case _:
                return mail | (own if phase else {})

    @property
    def verdict(self) -> RowState | None:
        """Return the decisions of the owner about the rows of the first phase."""
        decided: dict[Order, RowState] = {
            **dict.fromkeys((Order.MAIL_REJECTED, Order.OWN_REJECTED), "rejected"),
            **dict.fromkeys((Order.MAIL_APPROVED, Order.OWN_APPROVED), "approved"),
        }
        return decided.get(self.order)

    @property
    def is_one(self) -> bool:
        """True if the mail says nothing that the line has not, or the line takes the item over."""
        if self.wording not in _WORDINGS[:2] or (self.own_day and self.writes_day):
            return False
        is_less = self.mail_day in (None, self.own_day)
        return is_less or (self.own_day is None and self.order is Order.MAIL_FIRST)


def drawn_pairs(count: int, seed: int) -> list[Pair]:
    """Return pairs of different things, orders, words and days."""
    chance = random.Random(seed)
    about = chance.sample([*product(_DONE, _THINGS)], count)
    first = date(2031, 3, 3)
    pairs = []
    for number, (verb, thing) in enumerate(about):
        own_day = chance.choice((None, None, first + timedelta(days=chance.randrange(200))))
        other = first + timedelta(days=chance.randrange(200, 400))
        mail_day = chance.choice((None, own_day, other))
        order = [*Order][number % len(Order)]
        wording = _WORDINGS[chance.choice((0, 0, 1, 2, 3))]
        pairs.append(
            Pair(f"{number:03}", verb, thing, order, wording, own_day, mail_day, chance.random() < 0.5)
        )
    return pairs


def wrong_about(pair: Pair, rows: Iterable[Placed]) -> list[str]:
    """Return how the rows of a pair are not as they have to be after both phases."""
    mine = [row for row in rows if row.path.removesuffix(".md").removesuffix(".eml").endswith(pair.name)]
    own = [row for row in mine if row.path.endswith(".md")]
    others = [row for row in mine if row.path.endswith(".eml") or row.path.startswith("mid:")]
    waiting = [row for row in others if row.state == "open"]
    found: list[str] = []
    if pair.order is Order.OWN_REJECTED:
        found += ["rejected line is back"] if any(row.state == "open" for row in own) else []
        found += ["double of a rejected line"] if pair.is_one and waiting else []
        return [f"{pair.order}: {pair.line.strip()} | {pair.words}: {what}" for what in found]
    is_covered = any(row.state == "approved" and pair.own_day in (None, row.day) for row in others)
    kept = "approved" if pair.order is Order.OWN_APPROVED else "open"
    living = [row for row in own if row.state == kept]
    if not living and not is_covered:
        found.append("line is hidden")
    if len(living) > 1:
        found.append("line is there twice")
    for row in living:
        found += ["day"] if row.day != pair.own_day else []
        found += ["title"] if fold(str(row.data["title"])) != fold(pair.title) else []
        found += ["mark"] if "outside" in row.marks else []
    if pair.order is Order.MAIL_REJECTED and waiting:
        found.append("rejected mail is back")
    if pair.is_one and waiting and pair.order is not Order.MAIL_REJECTED:
        found.append("two items")
    return [f"{pair.order}: {pair.line.strip()} | {pair.words}: {what}" for what in found]


def placed(data: Mapping[str, Any], source: Mapping[str, Any], state: str) -> Placed:
    """Return a row as it is compared."""
    marks, zone = source.get("warnings", []), source.get("timezone")
    return Placed(dict(data), str(source["path"]), marks, state, zone)
