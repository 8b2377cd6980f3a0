"""``python -m tests.evaluation.rounds TEXTS [ROUND ...]``: measure the rules on labelled files of strangers.

TEXTS is a folder as ``labels`` describes it. Suggested items count for precision, and with the unsure ones
for the second recall. Labels of the state "either" count neither as found nor as false. The interval of
precision is from resampled repositories.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

import anyio

from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.judge import MARKED
from hub.extraction.model import Models
from hub.extraction.tiers import tiers_of
from hub.lab.gold import Tally, judge, wrong_fields
from hub.lab.planted import Lots
from protocol.tables import TABLES, TableName
from tests.evaluation.judging import interval
from tests.evaluation.labels import LabelledFile, read_files
from tests.evaluation.marks import WITH_MARK, WITHOUT_MARK, by_mark

_OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="UTC")
_COUNTED: Final = frozenset({TableName.TASKS, TableName.TIMELINES})  # for recall: others are all optional
_RESAMPLES: Final = 2_000
_BINS: Final = 5


class Outcome(NamedTuple):
    """Found item with its verdict. *is_right*: None for a label that counts neither way."""

    item: Item
    is_right: bool | None
    is_suggested: bool


class FileOutcome(NamedTuple):
    """Outcomes of a file.

    Attributes:
        missed: labels that no item matches.
        days: wrong ones: field, expected, found.
        marks: scores of suggested items on lines with a mark, and on others.
        all_marks: likewise with unsure items.
    """

    file: LabelledFile
    outcomes: Sequence[Outcome]
    missed: Sequence[str]
    labelled: int
    days: Sequence[tuple[str, str, str]]
    dated: int
    marks: Mapping[str, Tally]
    all_marks: Mapping[str, Tally]

    @property
    def false(self) -> int:
        """Number of false items that are suggested."""
        return sum(outcome.is_suggested and outcome.is_right is False for outcome in self.outcomes)


def main() -> int:
    """Print the figures of rounds, each by itself and all together."""
    arguments = argparse.ArgumentParser(prog="python -m tests.evaluation.rounds")
    arguments.add_argument("texts", type=Path)
    arguments.add_argument("rounds", nargs="*")
    arguments.add_argument("--list", action="store_true", help="print false items, missed labels and titles")
    chosen = arguments.parse_args()
    outcomes = anyio.run(read_outcomes, chosen.texts, chosen.rounds)
    if chosen.list:
        for outcome in outcomes:
            for line in _listed(outcome):
                print(line)
    names = list(dict.fromkeys(outcome.file.source.round for outcome in outcomes))
    for name in names:
        print(f"{name}:")
        print_figures([outcome for outcome in outcomes if outcome.file.source.round == name])
    if len(names) > 1:
        print(f"{' '.join(names)}:")
        print_figures(outcomes)
    return 0


async def read_outcomes(texts: Path, rounds: Sequence[str]) -> list[FileOutcome]:
    """Run the rules over the files of *rounds*, and compare."""
    extractor = Extractor(Models(), secret=bytes(32))
    return [await _outcome(extractor, file) for file in read_files(texts, rounds)]


async def _outcome(extractor: Extractor, file: LabelledFile) -> FileOutcome:
    extraction = await extractor.extract(file.document(), _OPTIONS)
    tiers = tiers_of(item for item in extraction.items if not item.is_done)
    items = [*tiers.suggested, *tiers.unsure]
    labels = file.gold.labels
    compared = judge(labels, items)
    matched = {index: labels[number] for number, index in compared.matched}
    pairs = [(label, items[index]) for index, label in matched.items() if not label.is_optional]
    dated = [(label, item) for label, item in pairs if label.data.keys() & {"dueDate", "date"}]
    return FileOutcome(
        file=file,
        outcomes=[
            Outcome(item, _verdict(matched.get(index)), index < len(tiers.suggested))
            for index, item in enumerate(items)
        ],
        missed=[
            str(next(iter(labels[number].data.values())))
            for number in compared.missed
            if labels[number].table in _COUNTED
        ],
        labelled=sum(not label.is_optional and label.table in _COUNTED for label in labels),
        days=[wrong for label, item in dated for wrong in wrong_fields(label, item, timezone="UTC")],
        dated=len(dated),
        marks=by_mark(file.gold, tiers.suggested),
        all_marks=by_mark(file.gold, items),
    )


def _verdict(label: object) -> bool | None:
    if label is None:
        return False
    return None if label.is_optional else True  # type: ignore[attr-defined]


def print_figures(files: Sequence[FileOutcome]) -> None:
    """Print precision, recall, and the figures by evidence, kind of file and probability."""
    counts = _counts(files)
    low, high = resampled(files)
    labelled = max(1, sum(file.labelled for file in files))
    print(
        f"  suggested {counts.found}, false {counts.found - counts.right}: precision {counts.precision:.3f} "
        f"[{low:.3f}, {high:.3f}], recall {counts.right / labelled:.3f}, "
        f"with unsure {_right_of(files) / labelled:.3f} of {labelled}"
    )
    for name in (WITH_MARK, WITHOUT_MARK):
        _print_mark(name, files)
    worst = max(files, key=lambda file: file.false)
    dated, wrong = sum(file.dated for file in files), sum(len(file.days) for file in files)
    print(
        f"  files {len(files)}, with a false item {sum(file.false > 0 for file in files)}, most of a file "
        f"{worst.false} ({worst.file.gold.id}); days right {dated - wrong} of {dated}"
    )
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for file in files:
        for outcome in file.outcomes:
            evidence = outcome.item.evidence
            mark = "none" if evidence is None else "marked" if evidence.mark in MARKED else evidence.mark
            groups[f"evidence {mark}"].append(outcome)
            groups[f"kind {file.file.source.kind.split()[0]}"].append(outcome)
            groups[f"table {outcome.item.table}"].append(outcome)
    for name in sorted(groups):
        some = [outcome for outcome in groups[name] if outcome.is_right is not None]
        shown = [outcome for outcome in some if outcome.is_suggested]
        right = sum(bool(outcome.is_right) for outcome in shown)
        unsure = [outcome for outcome in some if not outcome.is_suggested]
        print(
            f"    {name:22} suggested {len(shown):4}  right {right:4}  {right / max(1, len(shown)):.3f}   "
            f"unsure {len(unsure):4}  right {sum(bool(outcome.is_right) for outcome in unsure):4}"
        )
    _print_bins([outcome for file in files for outcome in file.outcomes])


def _print_mark(name: str, files: Sequence[FileOutcome]) -> None:
    """Print the figures of lines with a mark or without, in all and as means over repositories."""
    groups: dict[str, Tally] = defaultdict(Tally)
    whole = unsure = Tally()
    for file in files:
        tally = file.marks.get(name, Tally())
        groups[file.file.source.repository] += tally
        whole, unsure = whole + tally, unsure + file.all_marks.get(name, Tally())
    means = [
        [share for tally in groups.values() if (share := getattr(tally, kind)) is not None]
        for kind in ("precision", "recall")
    ]
    precision, recall = (
        f"{sum(shares) / max(1, len(shares)):.3f} [{low:.3f}, {high:.3f}]"
        for shares in means
        for low, high in (_interval_of_mean(shares),)
    )
    print(
        f"  {name}: {whole.right} right of {whole.found} suggested, {whole.labelled} wanted, "
        f"{unsure.right} with unsure; means over repositories: precision {precision}, recall {recall}"
    )


def _interval_of_mean(shares: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, from resampling."""
    lots = Lots("shares")
    drawn = sorted(mean(lots.choose(shares) for _ in shares) for _ in range(_RESAMPLES if shares else 0))
    return (drawn[int(0.025 * _RESAMPLES)], drawn[int(0.975 * _RESAMPLES)]) if drawn else (0.0, 0.0)


def _print_bins(outcomes: Iterable[Outcome]) -> None:
    some = [
        (outcome.item.likelihood, bool(outcome.is_right))
        for outcome in outcomes
        if outcome.item.likelihood is not None and outcome.is_right is not None
    ]
    for nth in range(_BINS):
        inside = [pair for pair in some if min(_BINS - 1, int(pair[0] * _BINS)) == nth]
        if inside:
            right = sum(is_right for _, is_right in inside)
            low, high = interval(right, len(inside))
            predicted = sum(share for share, _ in inside) / len(inside)
            print(
                f"    predicted {nth / _BINS:.1f} to {(nth + 1) / _BINS:.1f}: {len(inside):4} items, "
                f"{predicted:.3f}, true {right / len(inside):.3f} [{low:.3f}, {high:.3f}]"
            )


class _Counts(NamedTuple):
    found: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.found)


def _counts(files: Iterable[FileOutcome]) -> _Counts:
    shown = [
        outcome
        for file in files
        for outcome in file.outcomes
        if outcome.is_suggested and outcome.is_right is not None
    ]
    return _Counts(len(shown), sum(bool(outcome.is_right) for outcome in shown))


def _right_of(files: Iterable[FileOutcome]) -> int:
    return sum(bool(outcome.is_right) for file in files for outcome in file.outcomes)


def resampled(files: Sequence[FileOutcome]) -> tuple[float, float]:
    """Return the 95 % interval of precision over resampled repositories."""
    groups: dict[str, list[FileOutcome]] = defaultdict(list)
    for file in files:
        groups[file.file.source.repository].append(file)
    pairs = [_counts(some) for some in groups.values()]
    lots, shares = Lots("repositories"), list[float]()
    for _ in range(_RESAMPLES):
        drawn = [lots.choose(pairs) for _ in pairs]
        shares.append(sum(pair.right for pair in drawn) / max(1, sum(pair.found for pair in drawn)))
    shares.sort()
    return shares[int(0.025 * _RESAMPLES)], shares[int(0.975 * _RESAMPLES)]


def _listed(file: FileOutcome) -> Iterator[str]:
    yield f"== {file.file.gold.id} ({file.file.source.kind}, {file.file.source.document})"
    marks = {True: "right", False: "FALSE", None: "either"}
    for outcome in file.outcomes:
        item, evidence = outcome.item, outcome.item.evidence
        tier = "suggested" if outcome.is_suggested else "unsure"
        rule = f"{evidence.mark} {evidence.rule}" if evidence else "-"
        title = item.data.get("title") or item.data.get("name") or item.data.get("content")
        print_of = item.data.get("assignee") or ""
        yield (
            f"  {marks[outcome.is_right]:6} {tier:9} {item.likelihood or 1:.2f} {item.table:9} [{rule}] "
            f"{title!r} {print_of} {' '.join(item.words.values())!r}"
        )
    for title in file.missed:
        yield f"  MISSED {title!r}"
    for field, expected, found in file.days:
        yield f"  DAY    {field}: {expected} {found}"


if __name__ == "__main__":
    sys.exit(main())
