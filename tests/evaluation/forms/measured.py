"""Comparison of the rows found in documents of fifteen forms with the facts that were planted there."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.evaluation.forms.facts import Paper


class Found(msgspec.Struct):
    """Row at the device, as far as it is compared with a fact."""

    path: str
    title: str
    who: list[str]
    day: str | None


class Sums(msgspec.Struct):
    """Counts of several documents."""

    planted: int = 0
    found: int = 0
    false: int = 0
    double: int = 0
    unreported: int = 0


def compare(
    paper: Paper,
    found: Sequence[Found],
    failed: Mapping[str, str],
    sums: Sums,
    report: Callable[[str], None],
) -> None:
    """Add the comparison of one document to *sums*, and report each difference."""
    facts = {fact.title: fact for fact in paper.facts}
    seen: set[str] = set()
    sums.planted += len(facts)
    for one in found:
        fact = facts.get(one.title)
        if fact is None:
            sums.false += 1
            report(f"FALSE {paper.name}: {one.title!r}")
            continue
        if fact.title in seen:
            sums.double += 1
            report(f"DOUBLE {paper.name}: {one.title!r}")
            continue
        seen.add(fact.title)
        who = [] if fact.who is None else [fact.who.lower()]
        day = fact.when.day.isoformat() if fact.when else None
        if ([name.lower() for name in one.who], one.day) != (who, day):
            report(f"DIFFERENT {paper.name}: {one.who}, {one.day} for {who}, {day} in {fact.sentence!r}")
    sums.found += len(seen)
    for title in facts.keys() - seen:
        report(f"LOST {paper.name}: {facts[title].sentence!r}")
        sums.unreported += f"notes/{paper.name}" not in failed
