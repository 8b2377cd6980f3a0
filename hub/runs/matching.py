"""Comparison of extracted items with the ledger: new, changed, known or rejected before. Pure.

The rules, in this order:

- Same place as a row reported by its device: paired with that row, whatever its content. Not sent.
- Decided about by its owner and found by other rules, or with another prompt: paired by its place, its quote
  or the words of its title. Not sent, whatever has changed.
- Known in this unit, with the same quote or from the same sentence: not sent again, whatever its owner
  answered and whatever the prompt is now. But a ticked check box updates its row, unless the row was
  rejected.
- A date of the event that a mail invites to: paired with its row, whatever has changed. If all of the event
  is called off, so are the rows of its dates.
- Never answered by its device: sent again, with its old id. If the device may have an older text of the item,
  that call is settled first, and the unit is read again.
- Rejected by its owner: not sent again, unless its sentence has changed.
- Other sentence and other data: the row is updated, and the call contains the difference. The same day in the
  time zone of another agent is no difference.
- Known in a file that is not offered any more, with the same quote: the item moves here.
- Known in another source of the same user on the same device, with all of the item's content: not sent. But
  an item without a date in the notes of two days is a separate item for each day. Two times of a day are two
  items. At one time, an event is the same whose title has words less, or more than that of a decided one.
- Title similar to that of an item whose quote was deleted, ignoring dates; or a longer or shorter form of the
  title of an open item, of one word only if no other title begins with it: that row is updated.
- Of a title that its owner has rejected three times, and never kept, for an agent that learns: not sent.
- Already done: not sent. A known item that is now done is updated as above.
- All other items are new.
- An event that is not found again, and whose line calls it off or has another day: its row is updated.
- Not found again: marked while the text lacks its quote; one that was approved, while no line has its title.

An item of which rules are unsure is held instead of sent, unless its device has it; one that is held is sent
once they are sure of it.

Other sources of the same device have the same item, for example, in a forwarded mail or in two notes. Which
rows are compared at all is decided in ``storage.runs.items``.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from difflib import SequenceMatcher
from functools import cache
from itertools import chain, islice, product
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.base.dates import dates_as_instants, dates_as_texts, day_at
from hub.document import Document
from hub.extraction.authorship import rank_of_document, text_of_rank
from hub.extraction.calendars import CANCELLED
from hub.extraction.duplicates import are_alike, significant_words
from hub.extraction.when.resolve import dates_in, local_day
from hub.extraction.wording.recognition import TextLanguages
from hub.runs.changed_lines import MAX_ROWS, changed_events, is_restored, titles_of, with_other_data
from hub.runs.decided_items import SAME_PLACE, decided_pairs, overlap_of
from hub.runs.found_items import is_same_place, local_data, main_of, payload_of, place_of_date
from hub.runs.item_ranks import covering_rank, is_raised, may_pair, rank_of, with_ranks
from hub.runs.reported_rows import is_taken, pair_by_place
from hub.text.folding import fold, words_of
from hub.text.rows.same_things import extends_title
from hub.text.rows.ticks import lines_of
from protocol.frame import Field, Record
from protocol.ids import content_of, derive_call_id, is_taken_item_id
from protocol.items import SOURCE_MISSING, Rank, with_missing
from protocol.lifecycles import CallState
from protocol.tables import TABLES, DeviceTable, Filler, Kind, TableName
from storage.runs.items import (
    TAKEN,
    Decision,
    Finder,
    FoundItem,
    ItemRow,
    KnownItem,
    KnownItems,
    PlannedCall,
    Verdict,
)

# minimum of difflib's ratio; "call Anna on Friday" and "call Anna on Monday" have 0.84
SAME_TITLE: Final = 0.7
# minimum length of a title that another title extends: too many titles begin with the same word
CONTINUED_WORDS: Final = 2
UNWANTED_TIMES: Final = 3  # that an agent's owner has rejected a title, for an agent that learns
MAX_COMPARED: Final = (
    1_000  # pairs of titles per unit, of the highest ranks; others that change are new items
)
MAX_READ: Final = 40  # titles per unit in which dates are searched, at 2 ms each
COMPARED_CHARS: Final = 160  # of a title; a comparison takes up to 0.3 ms in the database's single writer


def decide(
    known: KnownItems,
    *,
    found: Sequence[FoundItem],
    timezone: str,
    can_update: bool,
    document: Document | None = None,
    with_quotes: bool = True,
    learns: bool = False,
    with_done: bool = False,
    is_absent: Callable[[ItemRow], bool] | None = None,
) -> list[Decision]:
    """Return a decision for each of *found* in order, except for new items that are already done.

    Args:
        document: the document of the items.
        with_quotes: False if the ledger must not store text of the document.
        timezone: IANA name of the time zone in which days are compared.
        can_update: True if the device can update rows.
        learns: True if a title that the owner has rejected often is not suggested again.
        with_done: True if new items that are already done have a decision too.
        is_absent: returns True for an item whose own file is not offered any more; its sentence may be here.
    """
    if is_absent is not None:
        known = _with_moved(known, found, is_absent)
    ranked = with_ranks(known.here, found)
    pairing = _Pairing(found, ranked)
    if document is not None:
        pairing.match_taken(document)
        if document.event:
            pairing.match_event()
    pairing.match_same(known.finder)
    pairing.match_decided(known.finder, found)
    declarations = {item.table: item.declaration for item in found}
    left = (*pairing.left, *pairing.new_dates)
    lowest = min(map(attrgetter("rank"), left), default=Rank.OWN)
    above, elsewhere = (
        ItemsOfOtherSources(rows, timezone, known.finder.unit_key, declarations)
        for rows in (
            [known_item for known_item in ranked if rank_of(known_item.row) > lowest],
            known.elsewhere,
        )
    )
    others = dict[int, KnownItem]()
    for item in left:
        covering = above.find(item) if item.rank == lowest else None
        if other := covering or elsewhere.find(item):
            others[item.ordinal] = other
    pairing.match_changed(document, but=others)
    unwanted: Container[object] = _UnwantedNames(known) if learns else ()
    fresh = _FreshIds(known, [known_item.row for known_item in ranked])
    promised = {pair.row.id for pair in pairing.pairs.values()}
    decisions = []
    for item in found:
        if (other := others.get(item.ordinal)) is not None and is_raised(item, other.row):
            is_held = other.row.verdict == "held"
            taken = _of_held(item, other.row, known.finder) if is_held else None
            decisions.append(taken or _again(item, other, known.finder, can_update))
        elif other is not None:
            decisions.append(_shared_decision(item, other, known.finder, can_update, promised))
        elif (pair := pairing.pairs.get(item.ordinal)) is not None and item.ordinal in pairing.taken:
            row = pair.row
            after = msgspec.structs.replace(_with_content(item, row, known.finder), run_id=row.run_id)
            decisions.append(Decision(before=row, after=after))
        elif pair is not None and pair.row.verdict == "held":
            decisions.append(_of_held(item, pair.row, known.finder))
        elif pair is not None and item.ordinal in pairing.decided:
            decisions.append(Decision(before=pair.row, after=_seen(item, pair.row, known.finder)))
        elif pair is not None:
            decisions.append(_again(item, pair, known.finder, can_update))
        elif item in unwanted:
            decisions.append(Decision(skipped="unwanted"))
        elif not (item.table == TableName.TASKS and item.data.get("status") == "done"):
            row = _new_row(item, known.finder, fresh.of(item))
            call = None if item.is_unsure else _call(item, row, can_update=False)
            decisions.append(Decision(after=row, call=call))
        elif with_done:
            decisions.append(Decision(skipped="done"))
    if document is not None:
        finder, rows = known.finder, list(pairing.rows)
        if document.effect == "cancel" and "" in document.dates:
            off = list(_called_off(document, rows, declarations, len(found)))
        else:
            here = (
                known_item
                for known_item in rows
                if known_item.row.unit_key == finder.unit_key and not document.event
            )
            off = list(changed_events(document, here, timezone, len(found), at_ms=finder.at))
        decisions += [_again(item, known_item, finder, can_update) for item, known_item in off]
        updated = {known_item.row.id for _, known_item in off}
        left_rows = [known_item.row for known_item in rows if known_item.row.id not in updated]
        if left_rows and is_absent is not None:
            decisions += _without_words(document, left_rows, finder)
    return decisions if with_quotes else [_without_quote(decision) for decision in decisions]


def _with_moved(
    known: KnownItems, found: Sequence[FoundItem], is_absent: Callable[[ItemRow], bool]
) -> KnownItems:
    """Return known items with those of files that are gone, and whose sentences are here now, as of here."""
    words = {words for item in found for words in (item.quote_hash, item.words_hash)}
    day = day_in_name(known.finder.unit_key)
    moved = {
        known_item.row.id
        for known_item in known.elsewhere
        if known_item.row.quote_hash in words
        and (day is None or day_in_name(known_item.row.unit_key) in (None, day))
        and is_absent(known_item.row)
    }
    if not moved:
        return known
    return msgspec.structs.replace(
        known,
        here=(*known.here, *(known_item for known_item in known.elsewhere if known_item.row.id in moved)),
        elsewhere=tuple(known_item for known_item in known.elsewhere if known_item.row.id not in moved),
    )


def _without_words(document: Document, rows: Iterable[ItemRow], finder: Finder) -> Iterator[Decision]:
    """Yield the items of a unit that were not extracted, where the mark of missing words changes.

    An approved item misses them once no line has all words of its title. Words of a lower rank, such as those
    of a quotation of the line, do not count.
    """
    compared = 0
    text_of = cache(lambda rank: text_of_rank(document, rank))
    for row in rows:
        if row.verdict == "held" or row.unit_key != finder.unit_key:
            continue
        text = text_of(rank_of(row))
        is_missing = ((row.source or {}).get("quote") or "") not in text
        if is_missing and row.verdict != "open":
            compared += 1
            titles = titles_of(row, TABLES.of(row.target_table)) if compared <= MAX_ROWS else ()
            is_missing = bool(titles) and not any(lines_of(text, title) for title in titles)
        marks = with_missing(row.warnings, is_missing=is_missing)
        if marks != row.warnings:
            yield Decision(before=row, after=msgspec.structs.replace(row, warnings=marks), skipped="missing")


def _called_off(
    document: Document, rows: Iterable[KnownItem], declarations: Mapping[str, DeviceTable], first: int
) -> Iterator[tuple[FoundItem, KnownItem]]:
    """Yield the dates of an event that its mail does not name, as that mail calls them off."""
    places = {place_of_date(date) for date in msgspec.json.decode(document.event)}
    for ordinal, one in enumerate(rows, first):
        row, declaration = one.row, declarations.get(one.row.target_table)
        title = row.data.get(declaration.title) if declaration is not None else None
        is_lower = rank_of_document(document) < rank_of(row)
        if declaration is None or row.place_hash not in places or row.verdict == "rejected" or is_lower:
            continue
        if isinstance(title, str) and not title.startswith(CANCELLED):
            data = row.data | {declaration.title: f"{CANCELLED}{title}"}
            yield with_other_data(row, declaration, data, row.source or {}, ordinal), one


class _UnwantedNames(Container[object]):
    """Items of names that the agent's owner has only ever rejected, and often, in words of no lower rank."""

    def __init__(self, known: KnownItems) -> None:
        self._named: dict[str, list[ItemRow]] = {}
        for known_item in (*known.here, *known.elsewhere):
            row = known_item.row
            if row.agent_id == known.finder.agent_id and row.verdict != "held":
                self._named.setdefault(row.likeness, []).append(row)

    def __contains__(self, item: object) -> bool:
        assert isinstance(item, FoundItem)
        rows = [row for row in self._named.get(item.likeness, ()) if covering_rank(row) >= item.rank]
        return len(rows) >= UNWANTED_TIMES and all(row.verdict == "rejected" for row in rows)


def _without_quote(decision: Decision) -> Decision:
    after = decision.after
    if after is None or after.source is None:
        return decision
    after = msgspec.structs.replace(after, source=after.source | {"quote": ""})
    return msgspec.structs.replace(decision, after=after)


# --- matching within the unit ---


_Key = Callable[[FoundItem | ItemRow], object]
_May = Callable[[ItemRow], bool]
_Measure = Callable[[FoundItem, ItemRow], float]


class _Pairing:
    """Pairs of extracted and known items of the same table; each item is in at most one pair."""

    def __init__(self, found: Sequence[FoundItem], here: Sequence[KnownItem]) -> None:
        self.pairs: dict[int, KnownItem] = {}
        self.new_dates: list[FoundItem] = []  # of an event, without a row
        self.taken: set[int] = set()  # ordinals paired by place with a row that the device reported
        self.decided: set[int] = set()  # ordinals paired with a row by what other rules had found of it
        rising = sorted(found, key=attrgetter("rank"))
        self._quoted = {item.quote_hash: item.rank for item in rising}
        self._places = {item.place_hash: item.rank for item in rising}
        self._found = {item.ordinal: item for item in found}
        self._known = {known_item.row.id: known_item for known_item in here}

    @property
    def rows(self) -> Iterable[KnownItem]:
        """The known items without a pair."""
        return self._known.values()

    @property
    def left(self) -> list[FoundItem]:
        """The extracted items without a pair."""
        return list(self._found.values())

    def match_taken(self, document: Document) -> None:
        """Pair items with rows reported by the device from the same place."""
        for item, known_item in pair_by_place(self._found.values(), list(self._known.values()), document):
            self._pair(item, known_item)
            self.taken.add(item.ordinal)

    def match_event(self) -> None:
        """Pair the dates of the unit's event with their rows, whatever has changed, and with no others."""
        self._match(_place, lambda row: row.target_table == TableName.TIMELINES)
        self.new_dates = [item for item in self.left if item.is_of_event]
        for item in self.new_dates:
            del self._found[item.ordinal]

    def match_same(self, finder: Finder) -> None:
        """Pair items that have the same title, or come from the same sentence."""
        if not self._known:
            return
        self._match(lambda one: (one.likeness, one.quote_hash, one.data.get("status")))
        self._match(lambda one: (one.likeness, one.quote_hash))
        self._match(lambda one: (one.likeness, content_of(one.data)))
        self._match(_what_the_device_has, _may_have_an_earlier_version)
        self._match(lambda one: one.likeness)
        self._match_alike(key=_quote)
        self._match_alike(key=_place)
        # Repeated questions get the same item in other words, and other prompts shorter quotes.
        self._match(_quote)
        self._match(
            _place,
            lambda row: (
                row.agent_id == finder.agent_id and row.config_fingerprint != finder.config_fingerprint
            ),
        )

    def match_decided(self, finder: Finder, found: Iterable[FoundItem]) -> None:
        """Pair items with rows that other rules found, and their owner decided about; and unsure ones again.

        Rules that have changed find the same in another quote, or under another title. What its owner has
        rejected is not held under a title of the same words.
        """

        def may(row: ItemRow) -> bool:
            is_decided = row.verdict not in ("open", "held") and row.answered_at is not None
            return is_decided and row.config_fingerprint not in (TAKEN, finder.config_fingerprint)

        def is_unchanged(item: FoundItem, row: ItemRow) -> bool:
            is_edited = _is_ticked(item, row) and (row.source or {}).get("sha256") != item.source["sha256"]
            return not is_edited and (row.verdict == "rejected" or overlap_of(item, row) >= SAME_PLACE)

        paired = ((item, self.pairs[item.ordinal].row) for item in found if item.ordinal in self.pairs)
        same = {item.ordinal for item, row in paired if may(row) and is_unchanged(item, row)}
        before = {*self._found}
        rows = [known for known in self._known.values() if may(known.row)]
        for item, decided in list(decided_pairs(self.left, rows)):
            self._pair(item, decided)
        self._match_alike(lambda row: row.verdict == "rejected", measure=_unsure_again)
        self.decided = same | before - {*self._found}

    def match_changed(self, document: Document | None, *, but: Container[int]) -> None:
        """Pair items whose title and sentence have both changed, except the ordinals in *but*."""
        self._found = {ordinal: item for ordinal, item in self._found.items() if ordinal not in but}
        if not self._known:
            return

        def is_missing(row: ItemRow) -> bool:
            here = (self._quoted.get(row.quote_hash), self._places.get(row.place_hash))
            is_here = any(rank is not None and rank >= rank_of(row) for rank in here)
            return not is_here and row.verdict != "rejected"

        self._match_alike(is_missing)

        def is_open(row: ItemRow) -> bool:
            return row.verdict == "open" and is_missing(row)

        self._match_alike(is_open, measure=_continued)
        self._match_alike(is_missing, measure=_Moved(document))
        self._match_alike(is_missing, measure=_ticked_since)
        self._match_alike(is_missing, measure=is_restored)
        self._match_alike(is_missing, measure=_remarked)
        self._match_first_word(is_open)

    def _match_first_word(self, may: _May) -> None:
        """Pair a title of one word with the only item that begins with it: "milk" with "milk, 2 litres"."""
        declarations = {item.table: item.declaration for item in self.left}

        def main(one: FoundItem | ItemRow) -> str:
            if isinstance(one, FoundItem):
                return one.main
            table = declarations.get(one.target_table)
            return "" if table is None else main_of(table, one.data)  # then no item can match the row

        rows = self._by_key(main, may)
        items: dict[tuple[str, object], list[FoundItem]] = {}
        for item in self.left:
            if words := words_of(item.main):
                items.setdefault((item.table, words[0]), []).append(item)
        for key, beginning in items.items():
            alike = [known for known in rows.get(key, ()) if may_pair(beginning[0], known.row)]
            if len(beginning) == len(alike) == 1:
                self._pair(beginning[0], alike[0])

    def _match(self, key: _Key, may: _May = lambda row: True) -> None:
        """Pair items of the same *key*, in order."""
        rows = self._by_key(key, may)
        for item in list(self._found.values()):
            alike = rows.get((item.table, key(item)), [])
            for nth, known_item in enumerate(alike):
                if may_pair(item, known_item.row):
                    self._pair(item, known_item)
                    del alike[nth]
                    break

    def _match_alike(
        self,
        may: _May = lambda row: True,
        key: _Key = lambda one: None,
        measure: "_Measure | None" = None,
    ) -> None:
        """Pair items of the same *key* with similar titles, the most similar first."""
        measure = measure or _likeness_of
        rows = self._by_key(lambda row: (rank_of(row), key(row)), may)
        if not rows:
            return
        candidates = list[tuple[FoundItem, KnownItem]]()
        for rank, of in product(sorted(Rank, reverse=True), repeat=2):
            pairs = (
                (item, known_item)
                for item in self._found.values()
                if item.rank == rank
                for known_item in rows.get((item.table, (of, key(item))), ())
                if may_pair(item, known_item.row)
            )
            more = list(islice(pairs, MAX_COMPARED + 1 - len(candidates)))
            if len(candidates) + len(more) > MAX_COMPARED:
                break
            candidates += more
        scored = [(-measure(item, one.row), place) for place, (item, one) in enumerate(candidates)]
        for score, place in sorted(scored):
            item, one = candidates[place]
            if -score >= SAME_TITLE and item.ordinal in self._found and one.row.id in self._known:
                self._pair(item, one)

    def _by_key(
        self, key: Callable[[ItemRow], object], may: _May
    ) -> dict[tuple[str, object], list[KnownItem]]:
        rows: dict[tuple[str, object], list[KnownItem]] = {}
        for known_item in self._known.values():
            if may(known_item.row):
                rows.setdefault((known_item.row.target_table, key(known_item.row)), []).append(known_item)
        return rows

    def _pair(self, item: FoundItem, one: KnownItem) -> None:
        self.pairs[item.ordinal] = one
        del self._found[item.ordinal]
        del self._known[one.row.id]


def _quote(one: FoundItem | ItemRow) -> str:
    return one.quote_hash


def _place(one: FoundItem | ItemRow) -> str:
    return one.place_hash


def _may_have_an_earlier_version(row: ItemRow) -> bool:
    """Return True if the device has not taken the newest version of the row, as far as is known."""
    return row.before is not None and row.answered_at is None


def _what_the_device_has(one: FoundItem | ItemRow) -> object:
    return content_of(one.before or {} if isinstance(one, ItemRow) else one.data)


def _same_words(item: FoundItem, row: ItemRow) -> float:
    mine, other = set(words_of(item.main)), set(words_of(main_of(item.declaration, row.data)))
    shorter, longer = sorted((mine, other), key=len)
    return float(len(shorter) >= CONTINUED_WORDS and shorter <= longer)


def _unsure_again(item: FoundItem, row: ItemRow) -> float:
    return _same_words(item, row) if item.is_unsure else 0.0


def _likeness_of(item: FoundItem, row: ItemRow) -> float:
    return _likeness(item.main, main_of(item.declaration, row.data))


def _likeness(main: str, other: str) -> float:
    matcher = SequenceMatcher(None, main[:COMPARED_CHARS], other[:COMPARED_CHARS], autojunk=False)
    if matcher.real_quick_ratio() < SAME_TITLE or matcher.quick_ratio() < SAME_TITLE:
        return 0.0
    return matcher.ratio()


def _is_in_quote(item: FoundItem, row: ItemRow) -> bool:
    return overlap_of(item, row) >= SAME_PLACE


def _ticked_since(item: FoundItem, row: ItemRow) -> float:
    """Return 1.0 for a done task whose words were prose, which another title was read from."""
    return float(_is_ticked(item, row) and item.data.get("status") == "done" and _is_in_quote(item, row))


def _remarked(item: FoundItem, row: ItemRow) -> float:
    """Return 1.0 if one title is the other with a remark behind it: "Dinner (moved)"."""
    shorter, longer = sorted((item.main, main_of(item.declaration, row.data)), key=len)
    return float(longer.endswith(")") and longer.rpartition("(")[0].rstrip() == shorter)


def _continued(item: FoundItem, row: ItemRow) -> float:
    """Return 1.0 if one title of at least two words is the beginning of the other, else 0.0."""
    shorter, longer = sorted((item.main.split(), main_of(item.declaration, row.data).split()), key=len)
    return float(len(shorter) >= CONTINUED_WORDS and longer[: len(shorter)] == shorter)


class _Moved:
    """Similarity of two titles with different dates, measured as if both had the same date.

    The result is 0.0 unless one title has all other words of the other, because an equal date alone would
    make them similar. Dates are parsed for at most MAX_READ titles.
    """

    def __init__(self, document: Document | None) -> None:
        self._days: dict[str, str | None] = {}
        text, at = (document.text, document.modified_at) if document else ("", None)
        self._languages = cache(lambda: TextLanguages.of(text, at and at.date()))

    def __call__(self, item: FoundItem, row: ItemRow) -> float:
        if item.date_ms is None or row.date_ms in (None, item.date_ms):
            return 0.0
        main = item.main[:COMPARED_CHARS]
        other = main_of(item.declaration, row.data)[:COMPARED_CHARS]
        place = int(item.source.get("start", 0))
        day, before = self._day(main, place), self._day(other, place)
        if day is None or before is None:
            return 0.0
        shorter, longer = sorted(
            (main.replace(day, "", 1).split(), other.replace(before, "", 1).split()), key=len
        )
        others = iter(longer)
        if len(shorter) < CONTINUED_WORDS or not all(word in others for word in shorter):
            return 0.0
        return _likeness(main.replace(day, before, 1), other)

    def _day(self, main: str, place: int) -> str | None:
        """Return the longest date phrase of a title, or None. Returns None after MAX_READ titles."""
        if main not in self._days and len(self._days) < MAX_READ:
            found = dates_in(main, language=self._languages().at(place))
            phrases = (date.words for date in found if date.words in main)
            self._days[main] = max(phrases, key=len, default=None)
        return self._days.get(main)


def _again(item: FoundItem, known: KnownItem, finder: Finder, can_update: bool) -> Decision:
    """Decide on an item that was extracted from this unit before."""
    row = known.row
    item = _in_zone_of(row, item, finder)
    is_above = is_raised(item, row)
    if item.data.get("status") == "done" != row.data.get("status") and not is_above:
        item = _ticked(item, row)
    is_same = item.data == row.data and not is_above
    is_refused = known.call_state is CallState.REJECTED and _may_have_an_earlier_version(row)
    if is_refused and item.data == row.before:
        # its update was refused, and its source has the old content again
        after = msgspec.structs.replace(_with_content(item, row, finder), before=None, answered_at=finder.at)
        return Decision(before=row, after=after)
    if row.answered_at is None:
        if known.held_by not in (None, finder.run_id):
            return Decision(before=row, awaits=row.id, is_behind=not is_same)
        if is_same or known.call_state not in (CallState.PLANNED, CallState.REJECTED):
            after = _seen(item, row, finder)
            # the ledger keeps the older place, so that the newer place counts as a change later
            if not is_same:
                older = {"quote_hash": row.quote_hash, "place_hash": row.place_hash, "source": row.source}
                after = msgspec.structs.replace(after, rank=rank_of(row), **older)
            call = _call(item, after, can_update)
            return Decision(before=row, after=after, call=call, is_behind=not is_same)
        return _changed(item, row, finder, can_update, before=row.before)
    is_seen_before = is_same_place(item, row) and not (
        _is_ticked(item, row) or _is_rezoned(item, row, finder)
    )
    is_exact = item.quote_hash != item.words_hash  # its content is its place
    is_seen_before = is_seen_before or (item.is_unsure and row.verdict == "rejected")
    if (is_seen_before and not is_above) or (is_same and (is_exact or row.verdict != "rejected")):
        seen = item.quote_hash, item.place_hash, finder.config_fingerprint, finder.unit_key
        is_seen = seen == (row.quote_hash, row.place_hash, row.config_fingerprint, row.unit_key)
        is_seen = is_seen and SOURCE_MISSING not in row.warnings
        return Decision(before=row, after=None if is_seen else _seen(item, row, finder))
    before = None if row.verdict == "rejected" else row.before or row.data  # a change that waits is replaced
    return _changed(item, row, finder, can_update, before=before)


def _ticked(item: FoundItem, row: ItemRow) -> FoundItem:
    """Return a done item with what its row has besides: of a ticked line, days are not read."""
    title = item.declaration.title
    data = row.data | item.data | ({title: row.data[title]} if _is_in_quote(item, row) else {})
    day = row.date_ms if item.date_ms is None else item.date_ms
    return msgspec.structs.replace(item, data=data, date_ms=day)


def _zone_of(source: Mapping[str, object] | None) -> str | None:
    """Return the time zone in which the days of an item begin, or None for times and unknown zones."""
    zone = (source or {}).get("timezone")
    return zone if isinstance(zone, str) else None


def _in_zone_of(row: ItemRow, item: FoundItem, finder: Finder) -> FoundItem:
    """Return the item with its days as they begin in the zone of its row, which its device shows them in.

    A time that would be a day there keeps its zone; so does that of an open row, which is read anew.
    """
    mine, theirs = _zone_of(item.source), _zone_of(row.source)
    if mine == theirs or None in (mine, theirs):
        return item
    texts = dates_as_texts(item.declaration, item.data, mine)
    is_anew = row.verdict == "open" and row.agent_id == finder.agent_id
    try:
        data = dates_as_instants(item.declaration, texts, theirs)
    except ValueError:  # outside the range of datetime there
        return item
    has_times = any(data[name] == item.data[name] for name in item.declaration.days if name in data)
    if dates_as_texts(item.declaration, data, theirs) != texts or (is_anew and has_times):
        return item
    day, source = item.declaration.day_in(data), item.source | {"timezone": theirs}
    return msgspec.structs.replace(item, data=data, date_ms=day, source=source)


def _is_ticked(item: FoundItem, row: ItemRow) -> bool:
    """Return True if a task's check box, which is not part of a quote, was ticked or cleared."""
    is_other = item.data.get("status") not in (None, row.data.get("status") or "todo")
    return item.is_by_rule and is_other and row.verdict != "rejected"


def _is_rezoned(item: FoundItem, row: ItemRow, finder: Finder) -> bool:
    """Return True if an open row has the time of the item in another zone, which its own agent had before."""
    zones = _zone_of(item.source), _zone_of(row.source)
    if row.verdict != "open" or row.agent_id != finder.agent_id or None in zones or item.data == row.data:
        return False
    now, before = (
        local_data(item.declaration, either.data, _zone_of(either.source)) for either in (item, row)
    )
    return now == before


def _source_of(item: FoundItem, row: ItemRow) -> dict[str, Any]:
    """Return the source of an item, with the zone in which the days of its row begin."""
    if row.source is None:
        return item.source
    source = {name: value for name, value in item.source.items() if name != "timezone"}
    return source | ({"timezone": zone} if (zone := _zone_of(row.source)) else {})


def _seen(item: FoundItem, row: ItemRow, finder: Finder) -> ItemRow:
    """Return the row of an item that was extracted again unchanged: its days keep their time zone."""
    return msgspec.structs.replace(
        row,
        quote_hash=item.quote_hash,
        place_hash=item.place_hash,
        warnings=with_missing(row.warnings, is_missing=False),
        unit_key=finder.unit_key,
        agent_id=(row.agent_id if row.unit_key == finder.unit_key else None) or finder.agent_id,
        source=None if row.verdict == "rejected" else _source_of(item, row),
        config_fingerprint=finder.config_fingerprint,
        run_id=finder.run_id if row.answered_at is None else row.run_id,
        rank=item.rank,
        updated_at=finder.at,
        evidence=row.evidence if row.verdict == "rejected" else item.evidence or row.evidence,
    )


def _with_content(item: FoundItem, row: ItemRow, finder: Finder) -> ItemRow:
    """Return the row of an item that was extracted again, with the content from there."""
    return msgspec.structs.replace(
        _seen(item, row, finder),
        source=None if row.verdict == "rejected" else item.source,
        likeness=item.likeness,
        data=item.data,
        date_ms=item.date_ms,
        warnings=item.warnings,
    )


def _changed(
    item: FoundItem, row: ItemRow, finder: Finder, can_update: bool, *, before: Record | None
) -> Decision:
    """Decide to send the next version of an item."""
    version = row.version + 1
    after = msgspec.structs.replace(
        _with_content(item, row, finder),
        device_id=finder.device_id,
        before=before,
        source=item.source,
        call_id=derive_call_id(item_id=row.id, version=version, content=content_of(item.data)),
        run_id=finder.run_id,
        row_id=row.row_id if row.device_id == finder.device_id else None,
        answered_at=None,
        version=version,
    )
    return Decision(before=row, after=after, call=_call(item, after, can_update))


def _call(item: FoundItem, row: ItemRow, can_update: bool) -> PlannedCall:
    is_of_row = row.source is not None and row.rank not in (None, item.rank)
    payload = payload_of(
        item.declaration,
        row.data,
        (row.source if is_of_row else None) or _source_of(item, row),
        before=row.before,
        row_id=row.row_id,
        can_update=can_update,
    )
    return PlannedCall(
        call_id=row.call_id,
        ordinal=item.ordinal,
        table=row.target_table,
        payload=msgspec.to_builtins(payload),
        action="update" if payload.where else "insert",
        item_id=row.id,
    )


def _of_held(item: FoundItem, row: ItemRow, finder: Finder) -> Decision:
    """Decide on an item that the hub holds: it is sent once rules are sure of it."""
    after = msgspec.structs.replace(
        _with_content(item, row, finder),
        device_id=finder.device_id,
        call_id=derive_call_id(item_id=row.id, version=row.version, content=content_of(item.data)),
        verdict="held" if item.is_unsure else "open",
    )
    if not item.is_unsure:
        return Decision(before=row, after=after, call=_call(item, after, can_update=False))
    is_same = msgspec.structs.replace(after, run_id=row.run_id, updated_at=row.updated_at) == row
    return Decision(before=row, after=None if is_same else after)


def _new_row(item: FoundItem, finder: Finder, item_id: str) -> ItemRow:
    """Return the row of an item that is not in the ledger."""
    return ItemRow(
        id=item_id,
        user_id=finder.user_id,
        agent_id=finder.agent_id,
        device_id=finder.device_id,
        unit_key=finder.unit_key,
        target_table=item.table,
        likeness=item.likeness,
        quote_hash=item.quote_hash,
        place_hash=item.place_hash,
        config_fingerprint=finder.config_fingerprint,
        data=item.data,
        date_ms=item.date_ms,
        warnings=item.warnings,
        source=item.source,
        call_id=derive_call_id(item_id=item_id, version=1, content=content_of(item.data)),
        run_id=finder.run_id,
        verdict="held" if item.is_unsure else "open",
        created_at=finder.at,
        updated_at=finder.at,
        evidence=item.evidence,
        rank=item.rank,
    )


class _FreshIds:
    """Item ids that are unused in the unit, including by items from before a restore of the hub.

    A device answers a known id without comparing content. So if the hub has learnt rows of the unit from the
    device, numbers begin after the device's counters.

    Args:
        here: the unit's known items.
    """

    def __init__(self, known: KnownItems, here: Sequence[ItemRow]) -> None:
        self._ids, self._is_used = known.finder.item_ids, known.is_used
        self._taken = {row.id for row in here}
        self._first = max((row.version for row in here if is_taken_item_id(row.id)), default=0)
        self._next: Counter[str] = Counter()  # per name, because a list may repeat a name a thousand times

    def of(self, item: FoundItem) -> str:
        """Return the next unused id for an item of this name."""
        while True:
            item_id = self._ids[item.likeness, self._first + self._next[item.likeness]]
            self._next[item.likeness] += 1
            if item_id not in self._taken and not self._is_used(item_id):
                return item_id


# --- matching with other sources ---


def _shared_decision(
    item: FoundItem, other: KnownItem, finder: Finder, can_update: bool, promised: set[str]
) -> Decision:
    """Decide on an item that another source has too; take over its delivery if no run delivers it.

    Args:
        promised: ids of the items taken over; extended by this function.
    """
    row = other.row
    if row.answered_at is not None or (item.is_unsure and row.verdict == "held"):
        return Decision(elsewhere=row)
    is_ours = other.held_by == finder.run_id and other.call_unit == finder.unit_key
    if row.id in promised or (other.held_by is not None and not is_ours):
        return Decision(awaits=row.id, elsewhere=row)
    promised.add(row.id)
    state: Verdict = "open" if row.verdict == "held" else row.verdict
    after = msgspec.structs.replace(row, run_id=finder.run_id, verdict=state, updated_at=finder.at)
    return Decision(before=row, after=after, call=_call(item, after, can_update), elsewhere=row)


MAX_LOOKED_AT: Final = 200  # limit of compared candidates
_DAY_IN_NAME: Final = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d)")
MIN_SPECIFIC_WORDS: Final = 2  # a title of one word is too unspecific to match across sources


class ItemsOfOtherSources:
    """Items of other sources, indexed by name, quote and day; without items that the device refused.

    The keys for comparison are computed once per item, because this runs in the database's single writer
    thread.
    """

    def __init__(
        self,
        known: Sequence[KnownItem],
        timezone: str,
        unit_key: str,
        tables: Mapping[str, DeviceTable],
    ) -> None:
        """Index the known items.

        Args:
            unit_key: source of the items that will be looked up.
            tables: declarations of their tables.
        """
        self._timezone = timezone
        self._note_day = day_in_name(unit_key)
        self._alike: dict[str, list[tuple[KnownItem, date | None]]] = {}
        self._quoted: dict[tuple[str, str], list[tuple[KnownItem, date | None]]] = {}
        self._of_day: dict[tuple[str, date], list[tuple[KnownItem, tuple[str, ...]]]] = {}
        self._taken_over: set[str] = set()
        if len(known) > MAX_LOOKED_AT:  # candidates of the highest rank
            known = sorted(known, key=lambda known_item: -covering_rank(known_item.row))
        for known_item in known:
            row = known_item.row
            if row.answered_at is None and known_item.call_state is CallState.REJECTED:
                continue
            day = None if row.date_ms is None else _day(row.date_ms, _zone_of(row.source) or timezone)
            self._alike.setdefault(row.likeness, []).append((known_item, day))
            self._quoted.setdefault((row.target_table, row.quote_hash), []).append((known_item, day))
            if day is not None and (table := tables.get(row.target_table)) is not None:
                words = _specific_words(main_of(table, row.data), row.data)
                self._of_day.setdefault((row.target_table, day), []).append((known_item, words))

    def find(self, item: FoundItem) -> KnownItem | None:
        """Return a known item that contains everything the new item says, or None."""
        if not self._alike:  # the usual case: nothing is known elsewhere
            return None
        alike = islice(self._candidates(item), MAX_LOOKED_AT)
        covering = (known_item for known_item in alike if self._covers(item, known_item.row))
        below: KnownItem | None = None
        for known_item in chain(covering, self._of_same_words(item)):
            row, rank = known_item.row, covering_rank(known_item.row)
            is_held_line = row.verdict == "held" and rank > item.rank and not item.is_unsure
            if rank >= item.rank and not is_held_line:
                return known_item
            is_free = below is None and item.data.get("status") != "done" and row.id not in self._taken_over
            if is_free and is_raised(item, row):
                below = known_item
        if below is not None:
            self._taken_over.add(below.row.id)
        return below

    def _of_same_words(self, item: FoundItem) -> Iterator[KnownItem]:
        """Yield items of the same quote, under any name, of the same day or reported by its device."""
        today = None if item.date_ms is None else _day(item.date_ms, self._timezone)
        for known_item, day in self._quoted.get((item.table, item.words_hash), ()):
            row = known_item.row
            is_same = is_taken(row) or (day == today and self._covers(item, row))
            if is_same and not self._is_of_another_day(row):
                yield known_item

    def _candidates(self, item: FoundItem) -> Iterator[KnownItem]:
        """Yield items of the same name, then items of the same day with a similar name."""
        # a table of an operator declares what makes two rows the same
        is_specific = item.table not in TABLES or len(words_of(item.main)) >= MIN_SPECIFIC_WORDS
        today = None if item.date_ms is None else _day(item.date_ms, self._timezone)
        for known_item, day in self._alike.get(item.likeness, ()):
            row = known_item.row
            # An item of another day is different; an item without a day says less.
            is_same_day = today is not None and (day == today or (day is None and is_raised(item, row)))
            if today is None and self._is_of_another_day(row):
                continue
            if (today is None or is_same_day) and (is_specific or is_same_day or is_same_place(item, row)):
                yield known_item
        if today is None:
            return
        mine = _specific_words(item.main, item.data)
        for known_item, words in self._of_day.get((item.table, today), ()):
            row = known_item.row
            is_near = are_alike(mine, words) or self._is_at_once(item, mine, row, words)
            if row.likeness != item.likeness and is_near:
                yield known_item

    def _is_at_once(self, item: FoundItem, mine: Sequence[str], row: ItemRow, words: Sequence[str]) -> bool:
        """Return True for an event at the time of a row of which one title has the other, and more words."""
        if item.table != TableName.TIMELINES or item.date_ms is None or item.date_ms != row.date_ms:
            return False
        at = from_epoch_ms(item.date_ms).astimezone(ZoneInfo(self._timezone))
        is_decided = row.verdict != "open"
        is_more = extends_title(words, mine, at) or (is_decided and extends_title(mine, words, at))
        return is_more and at.time() != time.min

    def _covers(self, item: FoundItem, row: ItemRow) -> bool:
        """Return True if the row has all that the item says, and not another time of day."""
        has_times = all(
            at_ms is not None and day_at(at_ms, _zone_of(source) or self._timezone) is None
            for at_ms, source in ((item.date_ms, item.source), (row.date_ms, row.source))
        )
        return not (has_times and item.date_ms != row.date_ms) and _has_words(item, row)

    def _is_of_another_day(self, row: ItemRow) -> bool:
        """Return True if a row is from the note of another day, because recurring tasks appear in both."""
        other = day_in_name(row.unit_key)
        return None not in (other, self._note_day) and other != self._note_day


def day_in_name(unit_key: str) -> str | None:
    """Return the day that a file is named after, as ``2026-11-20``, or None."""
    name = unit_key.rpartition("/")[2]
    found = _DAY_IN_NAME.search(name) if "@" not in name else None  # message ids are not file names
    if found is None:
        return None
    try:
        return date(*map(int, found.groups())).isoformat()
    except ValueError:
        return None


def _specific_words(main: str, data: Record) -> tuple[str, ...]:
    return significant_words(main, data.get("assignee"))


def _has_words(item: FoundItem, row: ItemRow) -> bool:
    """Return True if the row has all people, references and texts of the item."""
    is_own = item.table not in TABLES
    for column in item.declaration.columns:
        mine, other = item.data.get(column.name), row.data.get(column.name)
        if mine in (None, "", []):
            continue
        if is_own and not _has_value(other, mine):
            return False
        if column.kind is Kind.NAMES and not _folded_names(mine) <= _folded_names(other):
            return False
        if column.filler is Filler.PERSON and mine != other:
            return False
        if column.name == "author" and fold(str(mine)) != fold(str(other or "")):
            return False
        # Compare words: a single different number makes another note.
        if column.name == "content" and not set(words_of(str(mine))) <= set(words_of(str(other or ""))):
            return False
    return True


def _has_value(known: Field, value: Field) -> bool:
    """Return True if a known value says all that another one says."""
    if isinstance(known, str) and isinstance(value, str):
        return set(words_of(value)) <= set(words_of(known))
    return isinstance(value, list) or known == value  # lists are compared as names


def _folded_names(value: Field) -> set[str]:
    names = value if isinstance(value, list) else [str(value)] if value else []
    return {fold(name) for name in names}


def _day(at_ms: int, timezone: str) -> date:
    return local_day(from_epoch_ms(at_ms), ZoneInfo(timezone))
