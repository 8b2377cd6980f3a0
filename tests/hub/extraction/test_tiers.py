"""Tiers of a document's items: thresholds, the limit of unmarked documents, samples, decisions of owners."""

from zlib import crc32

import msgspec
import pytest

from hub.extraction.items import Evidence, EvidenceMark, Item
from hub.extraction.judge import weights
from hub.extraction.tiers import MAX_UNMARKED, SHOWN_SHARE, tiers_of


def is_sample(words: str) -> bool:
    return crc32(words.encode()) % SHOWN_SHARE == 0


PLAIN = [words for words in (f"task {nth}" for nth in range(60)) if not is_sample(words)]
SAMPLES = [words for words in (f"task {nth}" for nth in range(400)) if is_sample(words)]
HIGH, LOW = weights().suggested, weights().unsure


def item(words: str, likelihood: float | None, mark: EvidenceMark = "words") -> Item:
    return Item(
        table="tasks",
        data={"title": words},
        quote=words,
        start=len(words),
        end=2 * len(words),
        origin="rule",
        evidence=Evidence(mark=mark, rule="test.rule"),
        likelihood=likelihood,
    )


def counts(*items: Item, is_decided: bool = False) -> tuple[int, ...]:
    return tuple(map(len, tiers_of(items, is_decided=is_decided)))


@pytest.mark.parametrize(
    ("likelihood", "tiers"),
    [
        (None, (1, 0, 0)),
        (HIGH + 0.01, (1, 0, 0)),
        (HIGH - 0.01, (0, 1, 0)),
        (LOW + 0.01, (0, 1, 0)),
        (LOW - 0.01, (0, 0, 1)),
    ],
)
def test_tier_follows_the_probability(likelihood: float | None, tiers: tuple[int, ...]) -> None:
    assert counts(item(PLAIN[0], likelihood, "box")) == tiers


def test_document_without_marks_has_at_most_five_suggestions_until_its_owner_decides() -> None:
    items = [item(words, 0.99) for words in PLAIN[:12]]
    assert counts(*items) == (MAX_UNMARKED, 12 - MAX_UNMARKED, 0)
    assert counts(*items, is_decided=True) == (12, 0, 0)
    assert counts(*items, item(PLAIN[20], 0.99, "box")) == (13, 0, 0)


def test_likeliest_items_of_a_document_without_marks_are_suggested() -> None:
    items = [item(words, 0.9 + nth / 1_000) for nth, words in enumerate(PLAIN[:12])]
    assert {found.quote for found in tiers_of(items).suggested} == set(PLAIN[7:12])


def test_every_twentieth_unsure_item_is_suggested() -> None:
    middle = (HIGH + LOW) / 2
    unsure = [item(words, middle) for words in (PLAIN[0], SAMPLES[0])]
    found = tiers_of([*unsure, item(PLAIN[1], 0.99, "box")])
    assert [shown.quote for shown in found.unsure] == [PLAIN[0]]
    assert SAMPLES[0] in [shown.quote for shown in found.suggested]


@pytest.mark.parametrize(("shift", "tiers"), [(2.0, (1, 0, 0)), (0.0, (0, 1, 0)), (-2.0, (0, 0, 1))])
def test_decisions_of_an_owner_move_the_tier(shift: float, tiers: tuple[int, ...]) -> None:
    unsure = msgspec.structs.replace(item(PLAIN[0], (HIGH + LOW) / 2), evidence=Evidence(mark="box"))
    assert tuple(map(len, tiers_of([unsure], shift=lambda _: shift))) == tiers
