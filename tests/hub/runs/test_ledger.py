"""Items over several runs: found again, changed, judged by their owner, said in two files."""

import hashlib
from typing import Any

import pytest

from hub.links.device_link import RunFrame
from hub.text.excerpt import Excerpt
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.lifecycles import RunOutcome
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentComplete, AgentData, AgentManifest, FilePiece, ManifestFile
from storage.runs import calls, excerpts, runs
from storage.runs import item_lists as runs_item_lists
from storage.runs.calls import ReportedVerdict
from storage.runs.item_lists import ItemFilter
from storage.runs.items import ItemRow
from storage.runs.runs import RunRow
from tests.support.link import FakeLink
from tests.support.runs import MODERN, Bench


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


async def run(
    bench: Bench, *, answers: Any = takes, capabilities: tuple[str, ...] = MODERN, **files: str
) -> FakeLink:
    """One run over a folder with these files; the link tells what was sent."""
    link = bench.connect(runs=folder(**files), answers=answers, capabilities=capabilities)
    await bench.run()
    return link


async def ledger(bench: Bench) -> dict[object, ItemRow]:
    found = await bench.store.read(runs_item_lists.list_items, ItemFilter(), limit=100)
    return {one.row.data["title"]: one.row for one in found.items}


async def newest(bench: Bench) -> RunRow:
    return (await bench.store.read(runs.list_runs, limit=1))[0]


async def judge(bench: Bench, title: str, verdict: Any) -> None:
    row = (await ledger(bench))[title]
    said = [ReportedVerdict(row.call_id, verdict)]
    assert row.device_id is not None
    assert await bench.store.write(calls.record_verdicts, row.device_id, said, at=1)


def inserted(link: FakeLink) -> list[object]:
    return [call.data["title"] for call in link.calls if call.action is Action.INSERT]


ANNA = "- [ ] call Anna\n"
RENT = "- [ ] pay the rent\n"
LONGER = "- [ ] call Anna about the contract, the invoice and all the other papers\n"
PLANTS, WATERED = "- [ ] water the plants\n", "- [x] water the plants\n"

# A verdict on the first task, and the editions of a file, each with the calls that it leads to: the action,
# the row or the title, and the status.
EDITIONS: dict[str, tuple[str | None, dict[str, list[str]]]] = {
    "what is new is sent": (
        None,
        {
            ANNA + RENT: ["+ call Anna", "+ pay the rent"],
            f"{ANNA}- [ ] mend the old roof\n{RENT}": ["+ mend the old roof"],
        },
    ),
    "rejected, until its line is another": (
        "rejected",
        {ANNA: ["+ call Anna"], f"Hello.\n{ANNA}": [], "- [ ] call Anna !!!\n": ["+ call Anna"]},
    ),
    "rejected, and ticked": ("rejected", {ANNA: ["+ call Anna"], "- [x] call Anna\n": []}),
    "made longer": (
        None,
        {ANNA + RENT: ["+ call Anna", "+ pay the rent"], LONGER + RENT: ["row of call Anna"]},
    ),
    "a longer line beside an approved one": (
        "approved",
        {ANNA: ["+ call Anna"], LONGER: [f"+ {LONGER[6:-1]}"]},
    ),
    **{
        f"ticked, {verdict or 'open'}": (
            verdict,
            {
                ANNA + RENT: ["+ call Anna", "+ pay the rent"],
                f"- [x] call Anna\n{RENT}": ["row of call Anna done"],
                f"Hello.\n\n- [x] call Anna\n{RENT}": [],
                f"Hello.\n\n{ANNA}{RENT}": ["row of call Anna todo"],
            },
        )
        for verdict in (None, "approved", "edited")
    },
    "ticked, with a day in its words": (
        "approved",
        {
            f"- [ ] call Anna on 2027-12-04\n{RENT}": ["+ call Anna on 2027-12-04", "+ pay the rent"],
            f"- [x] call Anna on 2027-12-04\n{RENT}": ["row of call Anna on 2027-12-04 done"],
            f"Hello.\n\n- [x] call Anna on 2027-12-04\n{RENT}": [],
            f"Hello.\n\n- [ ] call Anna on 2027-12-04\n{RENT}": ["row of call Anna on 2027-12-04 todo"],
        },
    ),
    "tasks of one name, one ticked at any position": (
        None,
        {
            PLANTS * 2: ["+ water the plants"] * 2,
            WATERED + PLANTS: ["row of water the plants done"],
            PLANTS + WATERED: [],
        },
    ),
    "another task of another day": (
        "approved",
        {
            "- [ ] tell Ann by 2026-12-01\n": ["+ tell Ann by 2026-12-01"],
            "- [ ] tell Ben soon by 2027-03-24\n": ["+ tell Ben soon by 2027-03-24"],
        },
    ),
}


@pytest.mark.parametrize("case", EDITIONS)
async def test_each_edition_of_a_file_sends_only_new_or_changed_items(bench: Bench, case: str) -> None:
    verdict, editions = EDITIONS[case]
    for number, (text, expected) in enumerate(editions.items()):
        link = await run(bench, a=text)
        calls = [
            f"+ {call.data['title']}"
            if call.action is Action.INSERT
            else " ".join(map(str, filter(None, ((call.where or {}).get("id"), call.data.get("status")))))
            for call in link.calls
        ]
        assert calls == expected
        assert all((call.data["isAiSuggested"], call.data["isApproved"]) == (1, 0) for call in link.calls)
        assert all(call.data.get("dueDate", "as before") is not None for call in link.calls)
        if number == 0 and verdict is not None:
            await judge(bench, str(link.calls[0].data["title"]), verdict)


async def test_changed_line_is_a_new_row_at_a_device_without_updates(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    (call,) = (await run(bench, a="- [ ] call Anna on Sunday\n", capabilities=MODERN[:-1])).calls
    assert (call.action, call.data["title"]) == (Action.INSERT, "call Anna on Sunday")
    assert call.source is not None and call.source.replaces == "row of call Anna on Friday"


async def excerpt_of(bench: Bench, title: str) -> Excerpt | None:
    row = (await ledger(bench))[title]
    sealed = await bench.store.read(excerpts.find_excerpts, [row.id])
    assert not any(b"Hello" in one.sealed for one in sealed.values()), "it is not readable in the database"
    return bench.seals.open(sealed).get(row.id)


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
async def test_excerpt_around_a_quote_is_deleted_at_the_verdict(bench: Bench, verdict: str) -> None:
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
async def test_only_an_undated_task_in_two_daily_notes_is_two_items(
    bench: Bench, one: str, other: str, rows: int
) -> None:
    dated = "- [ ] call Anna @due(2026-12-01)\n"
    notes: dict[str, Any] = dict.fromkeys((one, other), f"{PLANTS}{dated}")
    titles = sorted(map(str, inserted(await run(bench, **notes))))
    assert (titles[1:], "call Anna" in titles[0]) == (["water the plants"] * rows, True)
    assert (await run(bench, **notes)).calls == []


@pytest.mark.parametrize(
    ("text", "day", "verdict"),
    [
        ("call Anna", "by 2027-03-25", "approved"),
        ("call Anna about the contract", "by 2026-12-01", "approved"),
        ("call Anna about the contract", "by 2027-03-25", "open"),
    ],
)
async def test_lengthened_line_updates_the_same_item_with_and_without_another_date(
    bench: Bench, text: str, day: str, verdict: str
) -> None:
    await run(bench, a="- [ ] call Anna by 2026-12-01\n")
    if verdict == "approved":
        await judge(bench, "call Anna by 2026-12-01", verdict)
    link = await run(bench, a=f"- [ ] {text} {day}\n")
    assert {call.action for call in link.calls} <= {Action.UPDATE}
    assert len(await ledger(bench)) == 1


async def test_item_of_a_row_removed_by_the_owner_is_rejected_without_excerpt(bench: Bench) -> None:
    await run(bench, a="- [ ] call Anna on Friday\n")
    gone = Answer(error=ErrorBody(code=ErrorCode.DATABASE_CONFLICT, message="there is no such row"))
    await run(bench, a="- [ ] call Anna on Monday\n", answers=lambda call: gone)
    assert (await newest(bench)).outcome is RunOutcome.SUCCESS
    assert (await ledger(bench))["call Anna on Monday"].verdict == "rejected"
    assert await excerpt_of(bench, "call Anna on Monday") is None
