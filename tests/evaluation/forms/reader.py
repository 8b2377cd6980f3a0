"""A perfect model of the generated documents, which knows no more than its prompt shows.

It tells a fact if all words of its sentence are in the text it is asked about, and quotes the sentence
without the markup around it. It names the person if words before the fact do; otherwise it has none.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from tests.evaluation.forms.facts import PEOPLE, Fact, Paper
from tests.support.oracle import Fault, Oracle
from tests.support.oracle.asker import most_records_of, text_of
from tests.support.oracle.planted import INVENTED, Record, task


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


_WORD: Final = re.compile(r"[^\W_]+")
_NUMBER: Final = re.compile(r"(?<!\d)\d{4}(?!\d)")
_ASKED_AGAIN: Final = re.compile(r"^\d+\. (?P<record>\{.*?\}): ", re.MULTILINE)


class FormReader(Oracle):
    """Oracle that answers from the facts of *papers*."""

    def __init__(self, papers: Sequence[Paper], **traits: Any) -> None:
        super().__init__(**traits)
        self.keeps_requests = False
        self.asked: Counter[str] = Counter()  # questions about texts with a fact, by document
        self._facts: dict[str, Fact] = {}
        self._papers: dict[str, str] = {}
        for paper in papers:
            for fact in paper.facts:
                (number,) = _NUMBER.findall(fact.title)
                self._facts[number], self._papers[number] = fact, paper.name

    def _records(self, request: dict[str, Any], fault: Fault | None) -> list[Record]:
        turn = text_of(request, with_context=True)
        text = turn if fault is Fault.BEFORE_BORDER else text_of(request)
        records = list(self._told(turn, text))
        for number in filter(self._papers.get, _NUMBER.findall(text)):
            self.asked[self._papers[number]] += 1
            break
        if "cannot be used" in turn:
            asked = [json.loads(match["record"]).get("title") for match in _ASKED_AGAIN.finditer(turn)]
            records = [record for record in records if record["title"] in asked]
        records = records[: most_records_of(request)][: self.most_records]
        match fault:
            case Fault.INVENTED:
                records.append(INVENTED)
            case Fault.DOUBLED:
                records += records[:1]
            case Fault.FOREIGN_TABLE:
                records += [record | {"table": "users"} for record in records[:1]]
            case Fault.MISQUOTED:
                records = [
                    record | {"quote": f"Somebody has to {record['title'][:12]}, it is said."}
                    if nth == 0
                    else record
                    for nth, record in enumerate(records)
                ]
        return records

    def _told(self, turn: str, text: str) -> Iterator[Record]:
        """Yield a record for each fact in *text*, in order."""
        offset = turn.find(text)
        words = [(match.group(), match.start()) for match in _WORD.finditer(text)]
        for nth, (word, _) in enumerate(words):
            fact = self._facts.get(word)
            if fact is None:
                continue
            said = _WORD.findall(fact.sentence)
            first = nth - said.index(word)
            if first >= 0 and [one for one, _ in words[first : first + len(said)]] == said:
                who = _named(fact, turn[: offset + words[first][1]])
                yield _record(fact, who)


def _named(fact: Fact, before: str) -> str | None:
    """Return the person of a fact, if the sentence or the text before it names one."""
    if fact.who is None or fact.cue in fact.sentence:
        return fact.who and fact.cue
    named = [(before.rfind(cue), who) for who in PEOPLE if (cue := fact.cue.replace(fact.who, who)) in before]
    return max(named)[1] if named else None


def _record(fact: Fact, who: str | None) -> Record:
    words = fact.when.words if fact.when else None
    if fact.table == "timelines":
        return {"quote": fact.sentence, "table": "timelines", "title": fact.title, "date": words}
    return task(fact.title, fact.sentence, who=who, when=words)
