"""An agent that learns shows its model what its owner has kept and rejected, and suggests less of it."""

import msgspec
import sqlalchemy as sa

from hub.clock import epoch_ms
from hub.extraction.folding import fold
from hub.runs.found_items import likeness_of
from hub.runs.lifecycle import Interrupt
from hub.runs.mailbox_visit import MOST_JUDGED, judged_titles
from hub.runs.run_order import RunOrder
from protocol.tables import TableName
from storage.runs.items import DAY_MS
from storage.schema import items
from storage.store import Connection
from tests.support.runs import Bench, declare_agent, folder

BOXES = "- [ ] pay the invoice\n- [ ] join the meeting\n"


async def decided(bench: Bench, title: str, verdict: str, *, at: int, **changed: object) -> None:
    """The owner's verdict on the items of this title, at a time."""
    values: dict[str, object] = {"verdict": verdict, "verdict_at": at} | changed
    if verdict == "rejected":
        values["source"] = None

    def write(c: Connection) -> None:
        chosen = items.c.likeness == likeness_of(TableName.TASKS, fold(title))
        assert c.execute(sa.update(items).where(chosen).values(values)).rowcount >= 1

    await bench.store.write(write)


async def learning(bench: Bench, **files: str) -> RunOrder:
    """The order of a run of an agent that learns, after a run over these files a day before."""
    bench.connect(runs=folder(**files))
    await bench.run()
    bench.agent = await declare_agent(
        bench.store, at=2, model_use=msgspec.structs.replace(bench.agent.model_use, learn=True)
    )
    bench.clock.advance(86_400.0)
    bench.connect(runs=folder(**files))
    await bench.control.submit(bench.agent)
    return await bench.claim()


async def shown(bench: Bench, order: RunOrder) -> list[tuple[str, bool]]:
    return [(one.title, one.is_approved) for one in await judged_titles(bench.store, order)]


async def test_verdicts_before_the_day_of_the_run_are_shown(bench: Bench) -> None:
    order = await learning(bench, a=BOXES)
    day = order.created_at - order.created_at % DAY_MS
    assert order.settings.learn
    await decided(bench, "pay the invoice", "edited", at=day - 1)
    await decided(bench, "join the meeting", "rejected", at=day - 1)
    assert sorted(await shown(bench, order)) == [("join the meeting", False), ("pay the invoice", True)]
    await decided(bench, "join the meeting", "rejected", at=day)
    assert await shown(bench, order) == [("pay the invoice", True)]
    assert day <= epoch_ms(bench.clock.now())


async def test_only_titles_from_the_owners_own_unmarked_text_are_shown(bench: Bench) -> None:
    order = await learning(bench, a=BOXES)
    rejected = {"verdict": "rejected", "at": 1}
    for changed in (
        {"warnings": ("instruction",)},
        {"unit_key": "mail.eml", "warnings": ()},
        {"unit_key": "page.html"},
        {"unit_key": "mid:a.md@example.org"},
        {"unit_key": "AAMkAD"},
        {"unit_key": "a.md", "agent_id": None},
    ):
        await decided(bench, "join the meeting", **rejected, **changed)  # type: ignore[arg-type]
        assert await shown(bench, order) == [], changed
    source = {"path": "a.md", "quote": "q", "provenance": {"origin": "mail", "author": "x", "trusted": False}}
    await decided(bench, "pay the invoice", "approved", at=1, source=source)
    assert await shown(bench, order) == []
    await decided(bench, "join the meeting", **rejected, agent_id=order.agent_id)  # type: ignore[arg-type]
    assert await shown(bench, order) == [("join the meeting", False)]


async def test_the_newest_titles_of_each_verdict_are_shown_and_no_more(bench: Bench) -> None:
    boxes = "".join(f"- [ ] call person {number:02} of the house\n" for number in range(20))
    order = await learning(bench, a=boxes)
    for number in range(20):
        verdict = "rejected" if number % 2 else "approved"
        await decided(bench, f"call person {number:02} of the house", verdict, at=number + 1)
    found = await judged_titles(bench.store, order)
    kept = [one.title for one in found if one.is_approved]
    assert (len(kept), len(found), kept[-1]) == (MOST_JUDGED, 2 * MOST_JUDGED, "call person 18 of the house")
    assert all(one.table == TableName.TASKS for one in found)


async def test_new_documents_are_asked_about_with_examples_and_old_ones_are_not_read_again(
    bench: Bench,
) -> None:
    order = await learning(bench, a=BOXES + "\nSome prose.")
    await decided(bench, "join the meeting", "rejected", at=1)
    await bench.runner.run(order, Interrupt())
    assert bench.model.asked == 1  # before anything was learnt
    bench.connect(runs=folder(a=BOXES + "\nSome prose.", b="Other prose."))
    await bench.run()
    assert bench.model.asked == 2
    before, after = (request.messages[0].content for request in bench.model.requests)
    assert "did not want" not in before
    assert after.endswith("Leave out records of the same kinds:\n- tasks: join the meeting")
