"""Owner opinions: verdicts move the tiers of other items of the agent."""

from typing import Any

import pytest
import sqlalchemy as sa

from hub.document import Document
from hub.extraction.items import Evidence, Extraction, Item
from hub.extraction.judge import odds, weights
from hub.extraction.tiers import TieredItems
from hub.runs.owner_opinions import MAX_SHIFT, correction, shift_of, tiered, tiers_for
from protocol.tables import TableName
from storage.runs import calls, items
from storage.runs.calls import ReportedVerdict
from storage.runs.items import DecidedKinds, ItemRow
from storage.schema import items as item_rows
from tests.hub.runs.test_ledger import ledger, run
from tests.support.families import each
from tests.support.runs import Bench

SUGGESTED, UNSURE = weights().suggested, weights().unsure


def found(likelihood: float | None, mark: str = "words", at: int = 0) -> Item:
    return Item(
        table=TableName.TASKS,
        data={"title": f"call Anna {at}"},
        quote=f"call Anna {at}",
        start=20 * at,
        end=20 * at + 11,
        origin="rule",
        evidence=Evidence(mark=mark),  # type: ignore[arg-type]  # a parameter of the tests
        likelihood=likelihood,
    )


@each("likelihood", [0.45, 0.6, 0.9, 0.99])
@each(("accepted", "rejected"), [(0, 0), (1, 0), (0, 3), (0, 10), (200, 0), (0, 5_000), (5, 5)])
def test_verdicts_move_the_odds_of_a_kind_by_a_bounded_amount(
    likelihood: float, accepted: int, rejected: int
) -> None:
    shift = shift_of(found(likelihood), {"words": (accepted, rejected), "box": (0, 1_000)})
    assert -MAX_SHIFT <= shift <= 0
    assert (shift < 0) == (rejected > accepted and likelihood > UNSURE)
    assert odds(likelihood) + shift >= odds(UNSURE) or likelihood < UNSURE


@pytest.mark.parametrize(("accepted", "rejected"), [(0, 1), (1, 1), (3, 2), (27, 13)])
def test_likely_items_stay_suggested_after_few_or_mixed_verdicts(accepted: int, rejected: int) -> None:
    shift = shift_of(found(0.9), {"words": (accepted, rejected)})
    assert odds(0.9) + shift >= odds(SUGGESTED)


def test_items_without_a_probability_and_of_other_kinds_do_not_move() -> None:
    kinds = {"words": (0, 50)}
    assert shift_of(found(None), kinds) == shift_of(found(0.9, "box"), kinds) == 0.0


@each(
    ("mark", "accepted", "rejected", "falls"),
    [
        *((mark, 0, 1, True) for mark in ("words", "heading")),
        *((mark, 0, 9, False) for mark in ("box", "keyword", "field", "form")),
        *((mark, 9, 10, True) for mark in ("box", "keyword", "field", "form")),
        *((mark, 10, 10, False) for mark in ("words", "heading", "box")),
    ],
)
def test_kind_falls_after_more_rejections_than_approvals_and_marked_after_ten(
    mark: str, accepted: int, rejected: int, falls: bool
) -> None:
    assert (shift_of(found(0.95, mark), {mark: (accepted, rejected)}) < 0) == falls


def test_a_rejected_kind_sinks_to_the_less_sure_items_and_rises_with_the_undoing() -> None:
    one = found(SUGGESTED + 0.02)
    after = [odds(one.likelihood or 0) + shift_of(one, {"words": (0, times)}) for times in range(12)]
    assert after == sorted(after, reverse=True) and after[0] >= odds(SUGGESTED) > after[3]
    assert after[-1] >= odds(UNSURE)


async def test_only_verdicts_that_there_are_count_by_agent_and_evidence(bench: Bench) -> None:
    names = ("Anna", "Bo", "Cy", "Di")
    await run(bench, a="".join(f"- [ ] call {name}\n" for name in names))
    rows = await ledger(bench)

    async def judge(name: str, verdict: Any) -> None:
        row: ItemRow = rows[f"call {name}"]
        report = [ReportedVerdict(row.call_id, verdict)]
        assert row.device_id is not None
        await bench.store.write(calls.record_verdicts, row.device_id, report, at=1)

    async def kinds() -> tuple[dict[tuple[str, str], tuple[int, int]], list[str]]:
        decided = await bench.store.read(items.decided_kinds, bench.agent.id)
        return decided.kinds, [*decided.units]

    assert {row.evidence for row in rows.values()} == {"box"}
    assert await kinds() == ({}, [])
    for name, verdict in zip(names, ("approved", "edited", "rejected"), strict=False):
        await judge(name, verdict)
    assert await kinds() == ({("", "box"): (2, 1)}, ["a.md"])

    # What was approved and is deleted later was a task.
    await judge("Bo", "rejected")
    assert await kinds() == ({("", "box"): (1, 1)}, ["a.md"])

    def undo(c: sa.Connection) -> None:
        undone = {"verdict": "open", "verdict_at": None}
        c.execute(sa.update(item_rows).where(item_rows.c.verdict == "rejected").values(undone))

    await bench.store.write(undo)
    assert await kinds() == ({("", "box"): (1, 0)}, ["a.md"])


async def test_verdicts_of_one_report_count_and_deletions_of_kept_rows_do_not(bench: Bench) -> None:
    await run(bench, a="".join(f"- [ ] call {name}\n" for name in ("Anna", "Bo", "Cy")))
    rows = [*(await ledger(bench)).values()]
    assert rows[0].device_id is not None
    for verdict in ("approved", "rejected"):
        report = [ReportedVerdict(row.call_id, verdict) for row in rows[: 3 if verdict == "approved" else 2]]
        await bench.store.write(calls.record_verdicts, rows[0].device_id, report, at=1)
    decided = await bench.store.read(items.decided_kinds, bench.agent.id)
    assert decided.kinds == {("", "box"): (1, 0)}


LINES = [SUGGESTED + (0.999 - SUGGESTED) * nth / 20 for nth in range(1, 21)]  # probabilities of 20 items


def tiers_after(path: str, kinds: dict[tuple[str, str], tuple[int, int]]) -> tuple[list[int], list[str]]:
    """Return the numbers of items suggested, unsure and lost, and what is said of their corrections."""
    document = Document(unit_key=path, text="", content_hash="0" * 64)
    decided = DecidedKinds(kinds, frozenset({path}))
    some = tuple(found(likelihood, "heading", at) for at, likelihood in enumerate(LINES))
    _, tiers = tiered(document, Extraction(items=some), decided)
    moved = [correction(item, document, decided) for item in some]
    return [len(tier) for tier in tiers], [words for words in moved if words]


@pytest.mark.parametrize("path", ["work/a.md", "work/to do@desk.md", "work/@home/a.md"])
def test_kind_rejected_ten_times_sinks_in_the_same_source_and_loses_no_item(path: str) -> None:
    before, words = tiers_after(path, {})
    assert (before, words) == ([20, 0, 0], [])
    rejected = {("work", "heading"): (0, 10)}
    (suggested, unsure, lost), words = tiers_after(path, rejected)
    assert (suggested + unsure, lost) == (20, 0) and unsure >= 15 and len(words) >= unsure
    assert words[0].endswith("items of work with such evidence: 0 approved and 10 rejected")
    assert tiers_after("home/a.md", rejected) == tiers_after(path, {("work", "box"): (0, 10)})
    assert tiers_after("home/a.md", rejected) == (before, [])
    of_others = {("", "heading"): (0, 10)}
    assert tiers_after(path, of_others) == (before, [])


async def test_unlikely_items_are_left_out_and_counted(bench: Bench) -> None:
    likely, doubted, unlikely = (
        found(value, "box", at) for at, value in enumerate((0.99, UNSURE + 0.01, 0.01))
    )
    extraction = Extraction(items=(likely, doubted, unlikely))
    document = Document(unit_key="a.md", text="", content_hash="0" * 64)
    left, tiers = await tiers_for(bench.store, document, extraction, bench.agent.id)
    assert ([*left.items], left.notes.dropped) == ([likely, doubted], {"unlikely": 1})
    assert ([*tiers.unsure], [*tiers.unlikely]) == ([doubted], [unlikely])


@pytest.mark.parametrize("likely", [(), (None,), (None, 0.999), (0.999, 0.995)])
async def test_items_that_no_verdict_can_fold_are_suggested_without_a_transaction(
    bench: Bench, likely: tuple[float | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.store, "read", None)
    sure = Extraction(items=tuple(found(value, "box", at) for at, value in enumerate(likely)))
    document = Document(unit_key="a.md", text="", content_hash="0" * 64)
    found_again, tiers = await tiers_for(bench.store, document, sure, bench.agent.id)
    assert (found_again, tiers) == (sure, TieredItems([*sure.items], [], []))
