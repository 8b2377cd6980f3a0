"""``python -m tests.evaluation.judging TEXTS``: learn the weights of ``hub.extraction.judge``.

TEXTS is a folder as ``labels`` describes it. The gold sets of this repository are learned from as well. The
same files give the same weights. With ``--apart``, no file is written: every repository is judged by weights
that were learned from the others, and the reliability of these probabilities is printed.

Two models are learned first, from documents and from lines; what they say of a repository comes from a model
that has not seen it. A regression with one weight for each feature then joins them with the evidence.
"""

import argparse
import math
import operator
import sys
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, get_args
from zlib import crc32

import anyio
import msgspec

from hub.document import Document
from hub.extraction import judge
from hub.extraction.extractor import Extractor
from hub.extraction.items import DocumentLine, EvidenceMark, ExtractionOptions, Item, lines_of
from hub.extraction.judge import (
    DOCUMENT_KINDS,
    DOCUMENT_SLOTS,
    FEATURES,
    MARKED,
    SCALE,
    WORD_SLOTS,
    Card,
    DocumentProfile,
    JudgeNumbers,
    Slots,
    Weights,
    document_features,
    evidence_keys,
    line_around,
    odds,
    probability,
    softmax,
    values_of,
    word_slots,
)
from hub.extraction.model import Models
from hub.lab.gold import GoldDocument, read_folder, read_gold
from hub.lab.gold import judge as compare
from protocol.tables import TABLES, TableName
from tests.evaluation.labels import read_files

_GOLD: Final = Path(__file__).parents[1] / "gold"
_OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="UTC")
_FOLDS: Final = 10
_ROUNDS: Final = 12
_OWN_WEIGHT: Final = 0.15  # of items of our own gold sets, whose authors the rules were written for
_MAX_OF_FILE: Final = 4.0  # items as which all items of one file count
_MAX_ODDS: Final = 4.0  # of evidence: no count of examples makes it certain
_PRIOR_STRENGTH: Final = 4.0  # items as which the more general evidence counts
_NEUTRAL: Final = frozenset({TableName.NOTES, TableName.PROJECTS, TableName.TASK_COMMENTS})
_BINS: Final = 5
_MIN_KEPT: Final = 0.95  # share of right items that are suggested or unsure
_MIN_SEEN: Final = 8  # items
_PENALTY: Final = 1.0  # of a squared weight
_MAX_STEPS, _MIN_SCALE = 25, 1e-3  # of Newton's method


class Candidate(NamedTuple):
    """Item of a rule, and whether its label says that its owner would approve it."""

    item: Item
    is_right: bool


class Example(NamedTuple):
    """Document with its judged candidates. *round*, *kind*: empty if there is none."""

    round: str
    repository: str
    document: Document
    lines: Sequence[DocumentLine]
    kind: str
    candidates: Sequence[Candidate]
    is_own: bool

    @property
    def weight(self) -> float:
        """Weight of each candidate."""
        count = max(1, len(self.candidates))
        return min(1.0, _MAX_OF_FILE / count) * (_OWN_WEIGHT if self.is_own else 1.0)


def main() -> int:
    """Learn and write the weights, or measure them."""
    arguments = argparse.ArgumentParser(prog="python -m tests.evaluation.judging")
    arguments.add_argument("texts", type=Path)
    arguments.add_argument("--rounds", default="", help="names of rounds, separated by commas; default: all")
    arguments.add_argument("--apart", action="store_true", help="measure by leaving out repositories")
    chosen = arguments.parse_args()
    rounds = [name for name in chosen.rounds.split(",") if name]
    examples = anyio.run(read_examples, chosen.texts, rounds)
    learned, likelihoods = learn(examples)
    if chosen.apart:
        print_reliability([pair for pair in likelihoods if not pair[0].is_own])
        return 0
    names = JudgeNumbers.__struct_fields__
    numbers = msgspec.json.encode({name: getattr(learned, name) for name in names})
    judge.WEIGHTS.write_bytes(msgspec.json.format(numbers, indent=1) + b"\n")
    slots = b"".join(column.tobytes() for column in (*learned.slots.document, learned.slots.words))
    judge.SLOTS.write_bytes(zlib.compress(slots, level=9))
    card = learned.card
    print(f"{card.items} items of {card.files} files of {card.repositories} repositories, {card.right} right")
    return 0


async def read_examples(texts: Path, rounds: Sequence[str]) -> list[Example]:
    """Return the candidates that the rules find in all labelled files."""
    labelled = [
        _Entry(file.source.round, file.source.repository, file.gold, file.source.document)
        for file in read_files(texts, rounds)
    ]
    own = [_Entry("", f"own {gold.id.partition('/')[0]}", gold, "") for gold in read_folder(_GOLD / "files")]
    own += [
        _Entry("", f"own {gold.id}", gold, "")
        for folder in (_GOLD, _GOLD / "second")
        for path in sorted(folder.glob("*.jsonl"))
        for gold in read_gold(path.read_text("utf-8"))
    ]
    extractor = Extractor(Models(), secret=bytes(32))
    return [await _example(extractor, entry) for entry in (*labelled, *own)]


class _Entry(NamedTuple):
    round: str
    repository: str
    gold: GoldDocument
    kind: str


async def _example(extractor: Extractor, entry: _Entry) -> Example:
    document = entry.gold.document("UTC")
    extraction = await extractor.extract(document, _OPTIONS)
    items = [item for item in extraction.items if not item.is_done and item.evidence]
    return Example(
        round=entry.round,
        repository=entry.repository,
        document=document,
        lines=list(lines_of(document.text)),
        kind=entry.kind if entry.kind in DOCUMENT_KINDS else "",
        candidates=list(_candidates(entry.gold, items)),
        is_own=not entry.round,
    )


def _candidates(gold: GoldDocument, items: Sequence[Item]) -> Iterable[Candidate]:
    """Yield the items with their labels; a task or an event that an owner may want or not is none."""
    compared = compare(gold.labels, items)
    labels = {index: gold.labels[number] for number, index in compared.matched}
    for index, item in enumerate(items):
        label = labels.get(index)
        if label is None or not label.is_optional or item.table in _NEUTRAL:
            yield Candidate(item, label is not None)


# --- the two models and the regression ---


class JudgedCandidate(NamedTuple):
    """Features of a candidate."""

    is_right: bool
    weight: float
    values: Mapping[str, float]
    is_own: bool
    candidate: Candidate
    example: Example

    @property
    def mark(self) -> str:
        """Mark of its evidence."""
        return self.candidate.item.evidence.mark if self.candidate.item.evidence else ""


def learn(examples: Sequence[Example]) -> tuple[Weights, list[tuple[JudgedCandidate, float]]]:
    """Return the weights, and each candidate with the probability by weights of other repositories."""
    folds = [[example for example in examples if _fold(example) == nth] for nth in range(_FOLDS)]
    rows: list[JudgedCandidate] = []
    by_fold: list[list[JudgedCandidate]] = []
    for held in folds:
        partial = _base(_without(examples, held))
        by_fold.append([row for example in held for row in _rows(example, partial)])
        rows += by_fold[-1]
    apart = [
        (row, _likelihood(row.values, features))
        for held in by_fold
        if (features := _regression([row for row in rows if not _is_of(row, held)]))
        for row in held
    ]
    strangers = [(row, share) for row, share in apart if not row.is_own]
    card = Card(
        files=len({(row.example.repository, row.example.document.unit_key) for row, _ in strangers}),
        repositories=len({row.example.repository for row, _ in strangers}),
        items=len(strangers),
        right=sum(row.is_right for row, _ in strangers),
        rounds=tuple(sorted({example.round for example in examples if example.round})),
        weak=_weak(strangers),
    )
    learned = msgspec.structs.replace(
        _base(examples), features=_regression(rows), card=card, **_thresholds(strangers)
    )
    return learned, apart


def _thresholds(pairs: Sequence[tuple[JudgedCandidate, float]]) -> dict[str, float]:
    """Return the thresholds with the best F½ of what is suggested, and with most right items kept."""
    shares = [step / 100 for step in range(10, 91)]
    kept = {share: [row for row, likelihood in pairs if likelihood >= share] for share in shares}
    right = {share: sum(row.weight for row in rows if row.is_right) for share, rows in kept.items()}
    whole = sum(row.weight for row, _ in pairs if row.is_right)

    def f_half(share: float) -> float:
        return right[share] / (sum(row.weight for row in kept[share]) + whole / 4)

    unsure = max((share for share in shares if right[share] >= _MIN_KEPT * whole), default=shares[0])
    suggested = max(shares, key=f_half)
    return {"suggested": suggested, "unsure": min(unsure, suggested - 0.1)}


def _weak(pairs: Sequence[tuple[JudgedCandidate, float]]) -> tuple[str, ...]:
    """Return where less than half of the judged items are right, or few were seen: mark and kind of file."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, _ in pairs:
        groups[f"{row.mark} in {row.example.kind or 'other files'}"].append(row.is_right)
    return tuple(
        f"{name}: {sum(found)} of {len(found)}"
        for name, found in sorted(groups.items())
        if len(found) >= _MIN_SEEN and sum(found) < len(found) / 2
    )


def _is_of(row: JudgedCandidate, rows: Sequence[JudgedCandidate]) -> bool:
    return bool(rows) and _fold(row.example) == _fold(rows[0].example)


def _without(examples: Sequence[Example], held: Sequence[Example]) -> list[Example]:
    apart = {id(example) for example in held}
    return [example for example in examples if id(example) not in apart]


def _fold(example: Example) -> int:
    return crc32(example.repository.encode()) % _FOLDS


def _base(examples: Sequence[Example]) -> Weights:
    """Return weights without those of the features."""
    columns = _learned_document([example for example in examples if example.kind])
    partial = Weights(
        card=Card(files=0, repositories=0, items=0, right=0, rounds=(), weak=()),
        suggested=0.0,
        unsure=0.0,
        evidence=_evidence(examples),
        kinds={},
        marked_kinds={},
        features={},
        slots=Slots(tuple(columns), _learned_words(examples)),
    )
    kinds, marked = (_kinds(examples, partial, is_marked=is_marked) for is_marked in (False, True))
    return msgspec.structs.replace(partial, kinds=kinds, marked_kinds=marked)


def _evidence(examples: Sequence[Example]) -> dict[str, float]:
    """Return log-odds by evidence, each drawn towards those of more general evidence."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    parents: dict[str, str] = {}
    for example in examples:
        for candidate in example.candidates:
            keys = [*evidence_keys(candidate.item)]
            parents |= dict(pairwise(keys))
            for key in keys:
                counts[key][candidate.is_right] += example.weight
    found: dict[str, float] = {}
    for key in sorted(counts, key=lambda key: key.count(" ")):
        wrong, right = counts[key]
        above = probability(found[parents[key]]) if key in parents else 0.6
        found[key] = odds((right + _PRIOR_STRENGTH * above) / (right + wrong + _PRIOR_STRENGTH))
    return {key: round(max(-_MAX_ODDS, min(_MAX_ODDS, found[key])), 3) for key in sorted(found)}


def _kinds(examples: Sequence[Example], partial: Weights, *, is_marked: bool) -> dict[str, float]:
    """Return log-odds of candidates with a mark or without beyond their evidence, by kind of document."""
    sums = {kind: [1.0, 1.0] for kind in DOCUMENT_KINDS}  # right, expected
    for example in examples:
        profile = _kinds_of(example, partial)
        for candidate in example.candidates:
            if candidate.item.evidence and (candidate.item.evidence.mark in MARKED) is is_marked:
                expected = probability(judge.evidence_odds(candidate.item, partial))
                for kind, share in zip(DOCUMENT_KINDS, profile.kinds, strict=True):
                    sums[kind][0] += share * example.weight * candidate.is_right
                    sums[kind][1] += share * example.weight * expected
    return {kind: round(math.log(right / expected), 3) for kind, (right, expected) in sums.items()}


def _kinds_of(example: Example, partial: Weights) -> DocumentProfile:
    return judge.profile_of(example.document, example.lines, partial)


def _learned_document(examples: Sequence[Example]) -> list["array[int]"]:
    """Return the weights of a softmax regression of documents' kinds, rounded."""
    values = [[0.0] * DOCUMENT_SLOTS for _ in DOCUMENT_KINDS]
    rows = [
        (
            sorted({crc32(text.encode()) % DOCUMENT_SLOTS for text in _features(example)}),
            DOCUMENT_KINDS.index(example.kind),
        )
        for example in sorted(examples, key=lambda example: (example.repository, example.document.unit_key))
    ]
    for nth in range(4 * _ROUNDS):
        rate = 1.5 / (1 + nth / 6)
        for slots, kind in rows:
            size = math.sqrt(max(1, len(slots)))
            shares = softmax([sum([column[slot] for slot in slots]) / size * 4 for column in values])
            for other, column in enumerate(values):
                step = rate * (shares[other] - (other == kind)) / size
                for slot in slots:
                    column[slot] -= step + 0.002 * rate * column[slot]
    return [_rounded(column) for column in values]


_read_features: dict[int, list[str]] = {}


def _features(example: Example) -> list[str]:
    if id(example) not in _read_features:
        _read_features[id(example)] = document_features(example.document, example.lines)
    return _read_features[id(example)]


def _learned_words(examples: Sequence[Example]) -> "array[int]":
    """Return the weights of a logistic regression of lines without a mark, rounded."""
    rows = [
        (word_slots(line), candidate.is_right, example.weight, f"{example.repository} {candidate.item.start}")
        for example in examples
        for candidate in example.candidates
        if candidate.item.evidence and candidate.item.evidence.mark not in MARKED
        for line in [line_around(example.document.text, candidate.item.start, candidate.item.end)]
    ]
    rows.sort(key=lambda row: crc32(row[3].encode()))
    values = [0.0] * WORD_SLOTS
    base = odds(sum(row[1] * row[2] for row in rows) / max(1e-9, sum(row[2] for row in rows)))
    for nth in range(_ROUNDS):
        rate = 0.25 / (1 + nth / 4)
        for slots, is_right, weight, _ in rows:
            error = probability(base + sum([values[slot] for slot in slots])) - is_right
            for slot in slots:
                values[slot] -= rate * weight * (error + 0.02 * values[slot])
    return _rounded(values)


def _rounded(values: Sequence[float]) -> "array[int]":
    return array("b", (max(-127, min(127, round(value * SCALE))) for value in values))


def _rows(example: Example, partial: Weights) -> list[JudgedCandidate]:
    if not example.candidates:
        return []
    profile = _kinds_of(example, partial)
    return [
        JudgedCandidate(
            candidate.is_right,
            example.weight,
            values_of(candidate.item, example.document.text, profile, partial),
            example.is_own,
            candidate,
            example,
        )
        for candidate in example.candidates
    ]


def _likelihood(values: Mapping[str, float], features: Mapping[str, tuple[float, float]]) -> float:
    logit = features[""][0] + sum(
        weight * (values[name] - mean) for name, (weight, mean) in features.items() if name
    )
    return probability(logit)


def _regression(rows: Sequence[JudgedCandidate]) -> dict[str, tuple[float, float]]:
    """Return one weight for each feature by Newton's method; that of the evidence is drawn towards 1."""
    total = sum(row.weight for row in rows)
    means = {name: sum(row.weight * row.values[name] for row in rows) / total for name in FEATURES}
    vectors = [([1.0, *(row.values[name] - means[name] for name in FEATURES)], row) for row in rows]
    goals = [0.0, *(1.0 if name == "evidence" else 0.0 for name in FEATURES)]
    weights, loss = [*goals], _loss(vectors, goals, goals)
    for _ in range(_MAX_STEPS):
        step = _newton_step(vectors, weights, goals)
        scale = 1.0
        while scale > _MIN_SCALE:  # a whole step may lead beyond the minimum
            tried = [weight - scale * change for weight, change in zip(weights, step, strict=True)]
            if (lower := _loss(vectors, tried, goals)) < loss:
                break
            scale /= 2
        else:
            break
        weights, loss = tried, lower
    found = {
        name: (round(weight, 4), round(means[name], 4))
        for name, weight in zip(FEATURES, weights[1:], strict=True)
    }
    return {"": (round(weights[0], 4), 0.0), **found}


_Vectors = Sequence[tuple[list[float], JudgedCandidate]]


def _loss(vectors: _Vectors, weights: Sequence[float], goals: Sequence[float]) -> float:
    drawn = sum((weight - goal) ** 2 for weight, goal in zip(weights[1:], goals[1:], strict=True))
    return _PENALTY / 2 * drawn - sum(
        row.weight * math.log(max(1e-12, share if row.is_right else 1 - share))
        for vector, row in vectors
        for share in [probability(sum(map(operator.mul, weights, vector)))]
    )


def _newton_step(vectors: _Vectors, weights: Sequence[float], goals: Sequence[float]) -> list[float]:
    size = len(weights)
    gradient = [_PENALTY * (weight - goal) for weight, goal in zip(weights, goals, strict=True)]
    gradient[0] = 0.0
    hessian = [[_PENALTY * (row == column > 0) for column in range(size)] for row in range(size)]
    for vector, row in vectors:
        share = probability(sum(map(operator.mul, weights, vector)))
        error, curve = row.weight * (share - row.is_right), row.weight * share * (1 - share)
        for place in range(size):
            gradient[place] += error * vector[place]
            scaled = curve * vector[place]
            hessian[place] = [old + scaled * value for old, value in zip(hessian[place], vector, strict=True)]
    return _solved(hessian, gradient)


def _solved(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Solve a linear system by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    size = len(rows)
    for place in range(size):
        pivot = max(range(place, size), key=lambda row: abs(rows[row][place]))
        rows[place], rows[pivot] = rows[pivot], rows[place]
        for row in range(size):
            if row != place and rows[row][place]:
                factor = rows[row][place] / rows[place][place]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[place], strict=True)]
    return [rows[place][size] / rows[place][place] for place in range(size)]


# --- reliability ---


def interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def print_reliability(pairs: Sequence[tuple[JudgedCandidate, float]]) -> None:
    """Print predicted against true shares in five bins of equal width, and precision at some recalls."""
    for nth in range(_BINS):
        inside = [(row, share) for row, share in pairs if min(_BINS - 1, int(share * _BINS)) == nth]
        right = sum(row.is_right for row, _ in inside)
        low, high = interval(right, len(inside))
        predicted = sum(share for _, share in inside) / max(1, len(inside))
        is_inside = "in" if low <= predicted <= high else "OUT"
        share = right / max(1, len(inside))
        print(
            f"  {nth / _BINS:.1f} to {(nth + 1) / _BINS:.1f}: {len(inside):5} items,"
            f" predicted {predicted:.3f}, true {share:.3f} [{low:.3f}, {high:.3f}] {is_inside}"
        )
    print_curve(pairs, "all")
    for mark in get_args(EvidenceMark):
        print_curve([pair for pair in pairs if pair[0].mark == mark], mark)


def print_curve(some: Sequence[tuple[JudgedCandidate, float]], name: str) -> None:
    """Print precision and the share of right items kept at thresholds."""
    whole = sum(row.is_right for row, _ in some)
    parts = []
    for least in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9):
        kept = [row for row, share in some if share >= least]
        right = sum(row.is_right for row in kept)
        parts.append(f"{least}: {right / max(1, len(kept)):.3f}/{right / max(1, whole):.3f}")
    print(f"  {name:8} {len(some):5} {whole:5} precision/kept  " + "  ".join(parts))


if __name__ == "__main__":
    sys.exit(main())
