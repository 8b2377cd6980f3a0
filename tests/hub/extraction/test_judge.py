"""Probabilities of items: what the judge goes by, and what it says of it."""

from typing import Final

import pytest

from hub.document import Document
from hub.extraction import judge
from hub.extraction.items import Evidence, EvidenceMark, Item, lines_of
from hub.extraction.judge import DOCUMENT_KINDS, FEATURES, WEIGHTS, judged, weights
from protocol.items import REASONS

TEXT: Final = (
    "# Week\n\n- [ ] Oil the gate\n- [ ] lorem ipsum dolor\n\nPlease oil the gate.\n\nThe gate was green.\n"
)


def item(words: str, mark: EvidenceMark | None, *, table: str = "tasks") -> Item:
    start = TEXT.index(words)
    return Item(
        table=table,
        data={"title": words},
        quote=words,
        start=start,
        end=start + len(words),
        origin="rule" if mark else "model",
        evidence=Evidence(mark=mark, rule="test.rule") if mark else None,
    )


def likelihoods(*items: Item, name: str = "week.md", text: str = TEXT) -> list[float | None]:
    document = Document(unit_key=name, text=text, content_hash="0" * 64)
    return [found.likelihood for found in judged(items, document, list(lines_of(text)))]


@pytest.mark.parametrize("mark", ["box", "keyword", "field", "form"])
def test_item_with_a_mark_is_judged_alike_with_other_words(mark: EvidenceMark) -> None:
    first, second = likelihoods(item("Oil the gate", mark), item("lorem ipsum dolor", mark))
    assert first == second


def test_item_of_a_model_has_no_probability() -> None:
    assert likelihoods(item("Oil the gate", None), item("lorem ipsum dolor", "box"))[0] is None


def test_mark_makes_an_item_likelier_than_words_alone() -> None:
    words, box = likelihoods(item("Oil the gate", "words"), item("Oil the gate", "box"))
    assert words is not None and box is not None and words < box


def test_every_reason_has_a_sentence() -> None:
    marks: tuple[EvidenceMark, ...] = ("box", "keyword", "field", "form", "heading", "words")
    items = [item(words, mark) for mark in marks for words in ("Oil the gate", "The", "lorem ipsum dolor")]
    document = Document(unit_key="week.md", text=TEXT, content_hash="0" * 64)
    found = judged(items, document, list(lines_of(TEXT)))
    assert {len(set(judgement.reasons)) for judgement in found} == {2}
    assert {reason for judgement in found for reason in judgement.reasons} <= REASONS.keys()
    features = {*FEATURES} - {"evidence", "document"}
    keys = {f"{name}_{value}" for name in features for value in ("yes", "no")}
    keys |= {f"document_{kind}" for kind in DOCUMENT_KINDS} | {f"evidence_{mark}" for mark in marks}
    assert keys == REASONS.keys()


def test_reasons_are_the_features_with_the_largest_effects() -> None:
    document = Document(unit_key="week.md", text=TEXT, content_hash="0" * 64)
    lines, learned = list(lines_of(TEXT)), weights()
    for candidate in judged([item("Please oil the gate.", "words")], document, lines):
        profile = judge.profile_of(document, lines, learned)
        values = judge.values_of(candidate, TEXT, profile, learned)
        effects = {
            name: abs(weight * (values[name] - mean))
            for name, (weight, mean) in learned.features.items()
            if name
        }
        heaviest = sorted(effects, key=lambda name: -effects[name])[:2]
        assert [reason.partition("_")[0] for reason in candidate.reasons] == heaviest


def test_weights_of_the_release_are_small_and_complete() -> None:
    learned = weights()
    assert WEIGHTS.stat().st_size < 1 << 20
    assert learned.features.keys() == {"", *FEATURES}
    assert learned.kinds.keys() == learned.marked_kinds.keys() == set(DOCUMENT_KINDS)
    assert 0 < learned.unsure < learned.suggested < 1
    assert learned.card.files and learned.card.rounds and learned.card.weak
