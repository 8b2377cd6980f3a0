"""Items over several runs: found again, changed, judged by their owner, said in two files."""

import hashlib
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from hub.links.roster import RunFrame
from hub.text.excerpt import Excerpt
from protocol.errors import ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.lifecycles import RunOutcome, UnitState
from protocol.work import (
    Action,
    AgentComplete,
    AgentData,
    AgentManifest,
    Answer,
    FilePiece,
    ManifestFile,
    ToolCall,
)
from storage.runs import calls, items, runs
from storage.runs.calls import ReportedVerdict
from storage.runs.items import ItemFilter, ItemRow
from storage.runs.runs import RunRow
from tests.support.link import FakeLink
from tests.support.runs import MODERN, Bench, declare_agent


def folder(**files: str) -> list[list[RunFrame | Exception]]:
    """What a modern device sends of a folder, each file with the digest of its text."""
    pieces = [
        FilePiece(path=f"{name}.md", content=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        for name, text in files.items()
    ]
    listed = [
        ManifestFile(path=one.path, size_bytes=len(one.content), sha256=one.sha256 or "") for one in pieces
    ]
    data = [AgentData(run_id="r", files=[piece]) for piece in pieces]
    return [[AgentManifest(run_id="r", files=listed), *data, AgentComplete(run_id="r")]]


def takes(call: ToolCall) -> Answer:
    """Every insert gets a row named after its title."""
    if call.action is Action.INSERT:
        return Answer(result={"id": f"row of {call.data['title']}"})
    return Answer(result={"updated": 1})


async def run_over(bench: Bench, files: dict[str, str]) -> FakeLink:
    """One run over files of any name."""
    link = bench.connect(runs=folder(**files), answers=takes)
    await bench.run()
    return link


async def run(
    bench: Bench, *, answers: Any = takes, capabilities: tuple[str, ...] = MODERN, **files: str
) -> FakeLink:
    """One run over a folder with these files; the link tells what was sent."""
    link = bench.connect(runs=folder(**files), answers=answers, capabilities=capabilities)
    await bench.run()
    return link


async def ledger(bench: Bench) -> dict[object, ItemRow]:
    found = await bench.store.read(items.list_items, ItemFilter(), limit=100)
    return {one.row.data["title"]: one.row for one in found.items}


async def newest(bench: Bench) -> RunRow:
    return (await bench.store.read(runs.list_runs, limit=1))[0]


async def judge(bench: Bench, title: str, verdict: Any) -> None:
    row = (await ledger(bench))[title]
    said = [ReportedVerdict(row.call_id, verdict)]
    assert row.device_id is not None
    assert await bench.store.write(calls.record_verdicts, row.device_id, said, at=1) == 1


def inserted(link: FakeLink) -> list[object]:
    return [call.data["title"] for call in link.calls if call.action is Action.INSERT]


async def test_a_new_edition_of_a_file_sends_what_is_new_in_it(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n- [ ] pay the rent\n")
    link = await run(bench, a="- [ ] call Anna\n- [ ] mend the old roof\n- [ ] pay the rent\n")
    assert inserted(link) == ["mend the old roof"]
    assert len(link.calls) == 1


async def test_another_prompt_over_the_same_file_sends_nothing_again(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n")
    await bench.store.write(
        lambda c: c.exec_driver_sql("UPDATE unit_ledger SET config_fingerprint = 'older'").rowcount
    )
    await bench.store.write(
        lambda c: c.exec_driver_sql("UPDATE items SET config_fingerprint = 'older'").rowcount
    )
    link = await run(bench, a="- [ ] call Anna\n")
    assert link.calls == []


async def test_a_changed_line_changes_its_row_and_the_owner_sees_what_was_there(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    await judge(bench, "call Anna on Friday", "approved")
    link = await run(bench, a="- [ ] call Anna on Monday\n")
    (call,) = link.calls
    assert (call.action, call.where) == (Action.UPDATE, {"id": "row of call Anna on Friday"})
    assert call.data == {"title": "call Anna on Monday", "isAiSuggested": 1, "isApproved": 0}
    assert call.source is not None
    (changed,) = call.source.changed
    assert (changed.before, changed.after) == ("call Anna on Friday", "call Anna on Monday")
    assert (await ledger(bench))["call Anna on Monday"].verdict == "open"


async def excerpt_of(bench: Bench, title: str) -> Excerpt | None:
    row = (await ledger(bench))[title]
    sealed = await bench.store.read(items.find_excerpt, row.id)
    assert sealed is None or b"Hello" not in sealed.sealed, "it is not readable in the database"
    return await bench.seals.open(sealed)


@pytest.mark.parametrize("verdict", ["approved", "edited", "rejected"])
async def test_the_lines_around_a_quote_are_kept_until_its_owner_decides(bench: Bench, verdict: str) -> None:
    await run(bench, a="Hello.\n- [ ] call Anna on Friday\nBye.\n")
    assert await excerpt_of(bench, "call Anna on Friday") == Excerpt(1, "Hello.\n- [ ] ", "\nBye.")
    await run(bench, a="Hello.\n- [ ] call Anna on Monday\nSee you.\n")
    assert await excerpt_of(bench, "call Anna on Monday") == Excerpt(1, "Hello.\n- [ ] ", "\nSee you.")
    await judge(bench, "call Anna on Monday", verdict)
    assert await excerpt_of(bench, "call Anna on Monday") is None
    older = "UPDATE items SET config_fingerprint = 'of another prompt'"
    await bench.store.write(lambda c: c.exec_driver_sql(older).rowcount)
    await run(bench, a="Hello again.\n- [ ] call Anna on Monday\n")
    assert await excerpt_of(bench, "call Anna on Monday") is None, "a decided item needs none"


async def test_a_row_that_its_owner_removed_leaves_no_lines_behind(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    gone = Answer(error=ErrorBody(code=ErrorCode.DATABASE_CONFLICT, message="no row"))
    await run(bench, a="- [ ] call Anna on Monday\n", answers=lambda call: gone)
    assert (await ledger(bench))["call Anna on Monday"].verdict == "rejected"
    assert await excerpt_of(bench, "call Anna on Monday") is None


async def test_a_rejected_item_stays_away_until_its_line_is_another_one(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n")
    await judge(bench, "call Anna", "rejected")
    assert (await run(bench, a="Hello.\n- [ ] call Anna\n")).calls == []
    assert inserted(await run(bench, a="- [ ] call Anna !!!\n")) != []


async def test_the_same_task_in_two_notes_is_sent_once(bench: Bench) -> None:
    link = await run(bench, a="- [ ] call Anna\n", b="- [ ] call Anna\n- [ ] pay the rent\n")
    assert sorted(map(str, inserted(link))) == ["call Anna", "pay the rent"]
    row = await newest(bench)
    assert (row.items_created, row.items_known) == (2, 1)


@pytest.mark.parametrize(
    ("one", "other", "rows"),
    [
        ("2026-11-20", "2026-11-21", 2),
        ("diary_20261120", "diary_20261121", 2),
        ("2026-11-20", "2026-11-20 (conflict)", 1),
        ("2026-11-20", "plan", 1),
        ("2026-99-20", "2026-99-21", 1),
    ],
)
async def test_an_entry_in_the_notes_of_two_days_is_due_on_both(
    bench: Bench, one: str, other: str, rows: int
) -> None:
    notes = dict.fromkeys((one, other), "- [ ] water the plants\n")
    assert inserted(await run_over(bench, notes)) == ["water the plants"] * rows
    assert (await run_over(bench, notes)).calls == []


async def test_an_unchanged_folder_is_not_read_again_however_often_it_says_the_same(bench: Bench) -> None:
    files = {f"copy{number}": "- [ ] water the plants\n" for number in range(50)}
    slow = bench.connect(runs=folder(**files), answers=takes)
    answered = slow.call

    async def answer(call: ToolCall) -> Answer:
        """Answer once other files have been settled, which lean on this very item."""
        run_id = (await newest(bench)).id
        while [unit.state for unit in (await bench.units(run_id)).values()].count(UnitState.DONE) < 5:
            await anyio.lowlevel.checkpoint()
        return await answered(call)

    slow.call = answer  # type: ignore[assignment, method-assign]
    await bench.run()
    assert inserted(slow) == ["water the plants"]
    link = await run_over(bench, files)
    assert link.streams[0].fetched == [((), True)]
    assert (await newest(bench)).units_skipped == 50


async def test_an_appointment_in_the_notes_of_two_days_is_one(bench: Bench) -> None:
    text = "- [ ] call Anna @due(2026-12-01)\n"
    link = await run_over(bench, {"2026-11-20": text, "2026-11-21": text})
    assert len(inserted(link)) == 1


async def test_a_line_that_is_made_longer_changes_its_open_suggestion(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n- [ ] mend the roof\n")
    longer = "- [ ] call Anna about the contract, the invoice and all the other papers\n"
    link = await run(bench, a=f"{longer}- [ ] mend the roof\n")
    (call,) = link.calls
    assert (call.action, call.where) == (Action.UPDATE, {"id": "row of call Anna"})


async def test_a_longer_line_beside_an_approved_one_is_another_suggestion(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n")
    await judge(bench, "call Anna", "approved")
    link = await run(bench, a="- [ ] call Anna about the contract, the invoice and all other papers\n")
    assert [call.action for call in link.calls] == [Action.INSERT]


@pytest.mark.parametrize("verdict", ["open", "approved", "edited"])
async def test_a_check_box_that_is_ticked_says_that_its_task_is_done(bench: Bench, verdict: str) -> None:
    await run(bench, a="- [ ] call Anna\n- [ ] pay the rent\n")
    if verdict != "open":
        await judge(bench, "call Anna", verdict)
    ticked = "- [x] call Anna\n- [ ] pay the rent\n"
    (call,) = (await run(bench, a=ticked)).calls
    assert (call.action, call.where) == (Action.UPDATE, {"id": "row of call Anna"})
    assert call.data == {"status": "done", "isAiSuggested": 1, "isApproved": 0}
    assert (await run(bench, a=f"Hello.\n\n{ticked}")).calls == []
    (call,) = (await run(bench, a="- [ ] call Anna\n- [ ] pay the rent\n")).calls
    assert call.data["status"] == "todo"


async def test_a_rejected_task_stays_away_when_its_check_box_is_ticked(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna\n")
    await judge(bench, "call Anna", "rejected")
    assert (await run(bench, a="- [x] call Anna\n")).calls == []


async def test_of_tasks_with_one_name_the_ticked_one_is_done_at_any_position(bench: Bench) -> None:
    await run(bench, a="- [ ] water the plants\n- [ ] water the plants\n")
    link = await run(bench, a="- [x] water the plants\n- [ ] water the plants\n")
    assert [call.data["status"] for call in link.calls] == ["done"]
    assert (await run(bench, a="- [ ] water the plants\n- [x] water the plants\n")).calls == []


@pytest.mark.parametrize("verdict", ["open", "approved"])
@pytest.mark.parametrize("text", ["call Anna", "call Anna about the contract"])
@pytest.mark.parametrize("day", ["by 2026-12-01", "by 2027-03-25"])
async def test_a_longer_line_changes_its_row_whether_its_day_moves_or_not(
    bench: Bench, text: str, day: str, verdict: str
) -> None:
    await run(bench, a="- [ ] call Anna by 2026-12-01\n")
    if verdict == "approved":
        await judge(bench, "call Anna by 2026-12-01", verdict)
    link = await run(bench, a=f"- [ ] {text} {day}\n")
    assert {call.action for call in link.calls} <= {Action.UPDATE}
    assert len(await ledger(bench)) == 1


async def test_another_task_of_another_day_takes_no_row_of_a_deleted_task(bench: Bench) -> None:
    await run(bench, a="- [ ] tell Ann by 2026-12-01\n")
    await judge(bench, "tell Ann by 2026-12-01", "approved")
    link = await run(bench, a="- [ ] tell Ben soon by 2027-03-24\n")
    assert inserted(link) == ["tell Ben soon by 2027-03-24"]


async def test_a_device_that_lists_its_tools_and_cannot_update_gets_a_row_that_says_what_it_replaces(
    bench: Bench,
) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    link = await run(bench, a="- [ ] call Anna on Monday\n", capabilities=(*MODERN, "tool.insert"))
    (call,) = link.calls
    assert (call.action, call.data["title"]) == (Action.INSERT, "call Anna on Monday")
    assert call.source is not None and call.source.replaces == "row of call Anna on Friday"


async def test_an_owner_who_removed_the_row_has_rejected_the_item(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    gone = Answer(error=ErrorBody(code=ErrorCode.DATABASE_CONFLICT, message="there is no such row"))
    await run(bench, a="- [ ] call Anna on Monday\n", answers=lambda call: gone)
    assert (await newest(bench)).outcome is RunOutcome.SUCCESS
    assert (await ledger(bench))["call Anna on Monday"].verdict == "rejected"


@pytest.mark.parametrize("edition", ["- [ ] call Anna on Friday\n", "- [ ] call Anna on Monday\n"])
async def test_what_may_have_arrived_is_asked_for_with_its_old_id_and_text(
    bench: Bench, edition: str
) -> None:
    gone = LinkLost("the connection was cut", dispatched=True)
    lost = await run(bench, a="- [ ] call Anna on Friday\n", answers=[gone])
    paused = await newest(bench)
    await bench.control.cancel(paused.id, actor="somebody", reason="enough")

    again = await run(bench, a=edition)
    assert [call.id for call in again.calls] == [lost.calls[0].id]
    assert again.calls[0].data == lost.calls[0].data

    last = await run(bench, a=edition)
    assert [call.action for call in last.calls] == ([Action.UPDATE] if "Monday" in edition else [])


async def test_a_calendar_read_by_agents_of_two_time_zones_brings_each_event_once(bench: Bench) -> None:
    calls: list[tuple[Action, object]] = []
    for nth, zone in enumerate(("Europe/Berlin", "America/New_York") * 2, 1):
        events = "".join(
            f"BEGIN:VEVENT\nSUMMARY:Fair {day}\nDTSTART;VALUE=DATE:2026050{day}\nEND:VEVENT\n"
            for day in range(1, nth + 1)
        )
        ((manifest, data, done),) = folder(c=f"BEGIN:VCALENDAR\n{events}END:VCALENDAR\n")
        assert isinstance(manifest, AgentManifest)
        assert isinstance(data, AgentData)
        ((listed,), (piece,)) = manifest.files, data.files
        frames = [
            msgspec.structs.replace(manifest, files=[msgspec.structs.replace(listed, path="c.ics")]),
            msgspec.structs.replace(data, files=[msgspec.structs.replace(piece, path="c.ics")]),
            done,
        ]
        bench.agent = await declare_agent(
            bench.store,
            at=nth,
            name=zone[:4],
            timezone=zone,
            data_types=("timelines",),
            fresh_ids="klmnopqrstuvwxyz"[4 * nth - 4 : 4 * nth],
        )
        link = bench.connect(runs=[frames], answers=takes)
        await bench.run()
        calls += [(call.action, call.data["title"]) for call in link.calls]
    assert calls == [(Action.INSERT, f"Fair {day}") for day in range(1, 5)]
