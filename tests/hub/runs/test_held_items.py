"""Items of which rules are unsure: held at the hub, approved and rejected there, and delivered once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from hub.base.clock import IdFactory
from hub.device import owner_requests
from hub.device.device_file import DeviceStore, connect_shared, open_device_store
from hub.device.held_items import HeldItem, HeldItems, HeldVerdict, judge_held
from hub.device.items import read_items
from hub.device.owner_requests import PageReply
from hub.document import Document
from hub.extraction.items import Extraction, Item
from hub.extraction.tiers import TieredItems
from hub.runs import delivery
from hub.runs.verdict_delivery import VerdictDelivery
from protocol.errors import ErrorCode, LinkLost
from protocol.frame import ErrorBody, Record
from protocol.ids import CallId
from protocol.items import ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, Answer, ToolCall
from storage.effects import orphans
from storage.kernel.database import DatabaseUnavailable
from storage.runs import item_lists as runs_item_lists
from storage.runs import item_verdicts, items, plans, runs
from storage.runs.item_lists import ItemFilter
from storage.runs.item_verdicts import GivenVerdict, NewVerdict, VerdictRow
from storage.runs.items import DecidedKinds, ItemRow, Verdict
from storage.schema import devices
from storage.schema import items as ledger
from storage.store import Store
from tests.hub.runs.test_ledger import folder
from tests.hub.runs.test_mailboxes import bench_over
from tests.support.clock import SeededChance
from tests.support.link import FakeLink
from tests.support.mailbox import Mailbox
from tests.support.requests import result
from tests.support.runs import MODERN, Bench
from tests.support.scripted_hub import HubCalls

REVIEWS = (*MODERN, "item.review", "tool_calls")
ANNA, RENT = "- [ ] call Anna\n", "- [ ] pay the rent\n"


@pytest.fixture(autouse=True)
def doubted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The titles of which rules are unsure, in place of the judge."""
    titles: set[str] = set()

    def tiers(document: Document, found: Extraction, decided: DecidedKinds) -> tuple[Extraction, TieredItems]:
        unsure: list[Item] = [item for item in found.items if item.data["title"] in titles]
        return found, TieredItems(found.items, unsure, ())

    monkeypatch.setattr(delivery, "tiered", tiers)
    return titles


@contextmanager
def desk(folder: Path, bench: Bench) -> Iterator[DeviceStore]:
    with open_device_store(
        folder / "desk.db", clock=bench.clock, ids=IdFactory(bench.clock, SeededChance())
    ) as device:
        yield device


async def run(bench: Bench, **files: str) -> list[str]:
    """Return the titles that a run over a folder with these files inserts."""
    link = bench.connect(runs=folder(**files), answers=_row_of_title, capabilities=REVIEWS)
    await bench.run()
    return [str(call.data["title"]) for call in link.calls if call.action is Action.INSERT]


def _row_of_title(call: ToolCall) -> Answer:
    return Answer(result={"id": f"row of {call.data.get('title')}"} if call.action is Action.INSERT else {})


async def listed(bench: Bench, verdict: Verdict | None = None) -> dict[str, ItemRow]:
    page = await bench.store.read(runs_item_lists.list_items, ItemFilter(verdict=verdict), limit=500)
    return {str(one.row.data["title"]): one.row for one in page.items}


_ids = count()


async def give(bench: Bench, row: ItemRow, verdict: GivenVerdict, data: Mapping[str, Any] = {}) -> Any:
    new = NewVerdict(id=CallId(f"v-{next(_ids):04}"), item_id=row.id, verdict=verdict, data=dict(data))
    (given,) = await bench.store.write(
        item_verdicts.give,
        [new],
        user_id=row.user_id,
        actor="token:t",
        at=bench.now_ms,
        check=lambda item, new: None,
    )
    return given


async def deliver(bench: Bench, link: FakeLink) -> None:
    """Let a hub send what is open over this connection, until nothing is left to send at once."""

    def connect(c: sa.Connection) -> None:
        c.execute(sa.update(devices).values(session_epoch=link.epoch))

    await bench.store.write(connect)
    find_link = {link.device_id: link}.get
    service = VerdictDelivery(bench.store, find_link=find_link, clock=bench.clock, seals=bench.seals)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await bench.clock.pass_time(0.0)
        tasks.cancel_scope.cancel()


def linked(
    bench: Bench, answers: Any, epoch: int = 1, can: Sequence[str] = REVIEWS, grants: Sequence[str] = ()
) -> FakeLink:
    link = FakeLink(bench.agent.device_id or "", epoch=epoch, capabilities=can, answers=answers)
    link.owner_grants = {grant: [] for grant in grants}
    return link


async def newest_verdict(bench: Bench, row: ItemRow) -> VerdictRow:
    return (await bench.store.read(item_verdicts.newest_verdicts, [row.id]))[row.id]


GRANT = "review.remote"


async def test_an_unsure_item_is_neither_sent_nor_listed_nor_counted_as_news(
    bench: Bench, doubted: set[str]
) -> None:
    doubted.add("call Anna")
    assert await run(bench, a=ANNA + RENT) == ["pay the rent"]
    assert (*await listed(bench),) == ("pay the rent",) and (*await listed(bench, "held"),) == ("call Anna",)
    (newest,) = await bench.store.read(runs.list_runs, limit=1)
    of_run = await bench.store.read(runs_item_lists.list_items, ItemFilter(run_id=newest.id), limit=9)
    assert [one.row.data["title"] for one in of_run.items] == ["pay the rent"]
    (unit,) = (await bench.units(newest.id)).values()
    assert (unit.notes, newest.items_known, newest.items_created) == ({"held": 1}, 0, 1)
    assert await bench.store.read(items.count_open) == 1


async def test_a_file_with_a_held_item_fails_alone_where_the_device_refuses_its_other_item(
    bench: Bench, doubted: set[str]
) -> None:
    doubted.add("call Anna")
    refusal = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="no"))
    bench.connect(
        runs=folder(a=ANNA + RENT),
        answers=lambda call: refusal if call.action is Action.INSERT else Answer(result={}),
        capabilities=REVIEWS,
    )
    await bench.run()
    (newest,) = await bench.store.read(runs.list_runs, limit=1)
    assert (newest.reason, newest.units_failed) == (None, 1)


# Editions of files, each with the titles that rules doubt, those that are inserted, and those that are held.
Edition = tuple[dict[str, str], set[str], list[str], set[str]]
_A = {"call Anna"}
STORIES: dict[str, list[Edition]] = {
    "found again, it is the same item": [
        ({"a": ANNA}, _A, [], _A),
        ({"a": ANNA + RENT}, _A, ["pay the rent"], _A),
    ],
    "reworded, it is the same item": [
        ({"a": ANNA}, _A, [], _A),
        ({"a": "- [ ] call Anna soon\n"}, {"call Anna soon"}, [], {"call Anna soon"}),
    ],
    "edited away, it is deleted": [({"a": ANNA}, _A, [], _A), ({"a": RENT}, _A, ["pay the rent"], set())],
    "suggested later, it is sent once": [
        ({"a": ANNA}, _A, [], _A),
        ({"a": ANNA + RENT}, set(), ["call Anna", "pay the rent"], set()),
        ({"a": RENT + ANNA}, _A, [], set()),
    ],
    "of two files, it is held once": [
        ({"a": ANNA}, _A, [], _A),
        ({"a": ANNA, "b": RENT + ANNA}, _A, ["pay the rent"], _A),
    ],
    "suggested by another file, it is sent once": [
        ({"a": ANNA}, _A, [], _A),
        ({"a": ANNA, "b": RENT + ANNA}, set(), ["pay the rent", "call Anna"], set()),
        ({"a": f"Hello.\n{ANNA}", "b": RENT + ANNA}, _A, [], set()),
    ],
    "suggested first, it stays at its device": [
        ({"a": ANNA}, set(), ["call Anna"], set()),
        ({"a": f"Hello.\n{ANNA}"}, _A, [], set()),
    ],
}


@pytest.mark.parametrize("story", STORIES)
async def test_each_edition_holds_and_sends_an_item_once(bench: Bench, doubted: set[str], story: str) -> None:
    for files, titles, inserted, held in STORIES[story]:
        doubted.clear()
        doubted.update(titles)
        assert (await run(bench, **files), {*await listed(bench, "held")}) == (inserted, held)


async def hold(bench: Bench, doubted: set[str]) -> ItemRow:
    """Let the hub doubt the only item of a run, and return what it holds."""
    doubted.add("call Anna")
    await run(bench, a=ANNA)
    return (await listed(bench, "held"))["call Anna"]


@pytest.mark.parametrize("edition", [f"Hello.\n{ANNA}", "- [ ] call Anna!!!\n"])
async def test_a_rejected_held_item_is_not_shown_again_until_the_rejection_is_undone(
    bench: Bench, doubted: set[str], edition: str
) -> None:
    doubted.update(("call Anna", "call Anna!!!"))
    await run(bench, a=ANNA)
    row = (await listed(bench, "held"))["call Anna"]
    given = await give(bench, row, "reject")
    assert (given.state, (await give(bench, row, "reject")).id) == ("done", given.id)
    assert await run(bench, a=edition) == [] and await listed(bench, "held") == {}
    assert (*await listed(bench, "rejected"),) == ("call Anna",)
    await give(bench, row, "undo")
    assert (await listed(bench, "held"))["call Anna"].source == row.source
    assert await listed(bench) == {}


# Calls that reach the device before the connection breaks, and whether the one in which it breaks does.
LOSSES = [(reached, is_done) for reached in range(3) for is_done in (True, False)]


@pytest.mark.parametrize(("reached", "is_done"), LOSSES)
async def test_an_approved_item_is_one_approved_row_wherever_the_connection_breaks(
    bench: Bench, doubted: set[str], tmp_path: Path, reached: int, is_done: bool
) -> None:
    row = await hold(bench, doubted)
    await give(bench, row, "approve")
    with desk(tmp_path, bench) as device:
        device.granted([f"+{GRANT}"])
        left = iter(range(reached))

        def breaks(call: ToolCall) -> Answer:
            if next(left, None) is not None:
                return device.apply([call])[0]
            if is_done:
                device.apply([call])
            raise LinkLost("the connection was cut", dispatched=True)

        await deliver(bench, linked(bench, breaks, grants=[GRANT]))
        again = linked(bench, lambda call: device.apply([call])[0], epoch=2, grants=[GRANT])
        await deliver(bench, again)
        await deliver(bench, again)
        assert await run(bench, a=ANNA + RENT) == ["pay the rent"]
    (item,) = read_items(tmp_path / "desk.db")
    assert (item.title, item.verdict) == ("call Anna", "approved")
    stored = (await listed(bench, "approved"))["call Anna"]
    assert (stored.id, stored.row_id, (await newest_verdict(bench, row)).state) == (
        row.id,
        item.row_id,
        "done",
    )


async def test_an_approved_item_is_sent_once_though_a_run_finds_it_before_the_verdict_is_sent(
    bench: Bench, doubted: set[str], tmp_path: Path
) -> None:
    await give(bench, await hold(bench, doubted), "approve")
    with desk(tmp_path, bench) as device:
        device.granted([f"+{GRANT}"])
        bench.connect(
            runs=folder(a=f"Hello.\n{ANNA}"),
            answers=lambda call: device.apply([call])[0],
            capabilities=REVIEWS,
        )
        await bench.run()
        await deliver(bench, linked(bench, lambda call: device.apply([call])[0], grants=[GRANT]))
    assert [(item.title, item.verdict) for item in read_items(tmp_path / "desk.db")] == [
        ("call Anna", "approved")
    ]


REFUSED = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="no"))
REFUSALS: dict[str, tuple[Sequence[str], Sequence[str], Any, ErrorCode, Verdict]] = {
    "without the grant, it is held again": (REVIEWS, (), _row_of_title, ErrorCode.NOT_GRANTED, "held"),
    "refused by its table, it is held again": (REVIEWS, (GRANT,), [REFUSED], ErrorCode.BAD_RECORD, "held"),
    "of an old device, it becomes a suggestion": (
        MODERN,
        (),
        _row_of_title,
        ErrorCode.CALL_UNSUPPORTED,
        "open",
    ),
    "of a device that names no rows, it becomes a suggestion": (
        MODERN,
        (),
        [Answer(result={})],
        ErrorCode.CALL_UNSUPPORTED,
        "open",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_an_approval_that_a_device_refuses_leaves_the_item(
    bench: Bench, doubted: set[str], case: str
) -> None:
    can, grants, answers, code, state = REFUSALS[case]
    row = await hold(bench, doubted)
    await give(bench, row, "approve")
    await deliver(bench, linked(bench, answers, can=can, grants=grants))
    assert (await newest_verdict(bench, row)).reason == code
    assert (*await listed(bench, state),) == ("call Anna",)


async def test_a_device_that_keeps_no_ids_gets_an_item_once_though_it_did_not_answer(
    bench: Bench, doubted: set[str]
) -> None:
    row = await hold(bench, doubted)
    await give(bench, row, "approve")
    lost = linked(bench, [LinkLost("cut", dispatched=True)], can=("agent_manifest",))
    await deliver(bench, lost)
    again = linked(bench, _row_of_title, epoch=2, can=("agent_manifest",))
    await deliver(bench, again)
    assert (len(lost.calls), again.calls) == (1, [])
    assert (await newest_verdict(bench, row)).reason == ErrorCode.UNKNOWN_EFFECT


async def test_verdict_waits_for_a_database_lost_during_the_call(
    bench: Bench, doubted: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each verdict is sent by a task, so that the error comes in a group of errors."""

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("the database cannot be reached")

    row = await hold(bench, doubted)
    await give(bench, row, "approve")
    with monkeypatch.context() as broken:
        broken.setattr(item_verdicts, "note_delivered", away)
        await deliver(bench, linked(bench, _row_of_title, grants=[GRANT]))
    assert {record.message for record in caplog.records} & VERDICT_EVENTS == {"verdict.database"}
    await deliver(bench, linked(bench, _row_of_title, epoch=2, grants=[GRANT]))
    assert (await newest_verdict(bench, row)).sends == 2


VERDICT_EVENTS = {"verdict.database", "verdict.broke"}


@pytest.mark.parametrize(("reached", "is_done"), LOSSES)
async def test_undone_approval_holds_the_item_again_wherever_the_connection_breaks(
    bench: Bench, doubted: set[str], tmp_path: Path, reached: int, is_done: bool
) -> None:
    row = await hold(bench, doubted)
    with desk(tmp_path, bench) as device:
        device.granted([f"+{GRANT}"])
        epochs = count(1)

        def whole() -> FakeLink:
            return linked(bench, lambda call: device.apply([call])[0], epoch=next(epochs), grants=[GRANT])

        for _ in range(2):
            await give(bench, (await listed(bench, "held"))["call Anna"], "approve")
            await deliver(bench, whole())
            assert [(item.title, item.verdict) for item in read_items(tmp_path / "desk.db")] == [
                ("call Anna", "approved")
            ]
            await give(bench, (await listed(bench, "approved"))["call Anna"], "undo")
            left = iter(range(reached))

            def breaks(call: ToolCall, left: Iterator[int] = left) -> Answer:
                if next(left, None) is not None:
                    return device.apply([call])[0]
                if is_done:
                    device.apply([call])
                raise LinkLost("the connection was cut", dispatched=True)

            await deliver(bench, linked(bench, breaks, epoch=next(epochs), grants=[GRANT]))
            await deliver(bench, whole())
            assert [*read_items(tmp_path / "desk.db")] == []
            held = (await listed(bench, "held"))["call Anna"]
            assert (held.id, held.row_id, held.source, held.data) == (row.id, None, row.source, row.data)
            assert await run(bench, a=ANNA) == []
            assert [*await listed(bench, "held")] == ["call Anna"]


@pytest.mark.parametrize("said", [None, [1], "gone", {}, {"deleted": 0}, {"deleted": 2}])
async def test_undone_approval_is_a_suggestion_where_the_device_does_not_say_the_row_was_deleted(
    bench: Bench, doubted: set[str], tmp_path: Path, said: Any
) -> None:
    row = await hold(bench, doubted)
    with desk(tmp_path, bench) as device:
        device.granted([f"+{GRANT}"])

        def answer(call: ToolCall) -> Answer:
            return Answer(result=said) if call.action is Action.DELETE else device.apply([call])[0]

        verdicts: list[GivenVerdict] = ["approve", "undo", "approve"]
        for epoch, verdict in enumerate(verdicts, 1):
            await give(bench, row, verdict)
            await deliver(bench, linked(bench, answer, epoch=epoch, grants=[GRANT]))
            state: Verdict = "open" if verdict == "undo" else "approved"
            assert ((await newest_verdict(bench, row)).state, [*await listed(bench, state)]) == (
                "done",
                ["call Anna"],
            )
        assert [item.verdict for item in read_items(tmp_path / "desk.db")] == ["approved"]


@pytest.mark.parametrize("said", ["approved", "edited", "rejected"])
async def test_undo_is_refused_and_may_be_given_again_where_the_device_says_another_state(
    bench: Bench, said: Verdict
) -> None:
    await run(bench, a=ANNA)
    row = (await listed(bench))["call Anna"]
    states = {"approve": "approved", "undo": said}

    def answer(call: ToolCall) -> Answer:
        assert call.review is not None
        return Answer(result={"state": states[call.review.verdict.value]})

    verdicts: list[GivenVerdict] = ["approve", "undo", "undo"]
    for epoch, verdict in enumerate(verdicts, 1):
        await give(bench, row, verdict)
        await deliver(bench, link := linked(bench, answer, epoch=epoch, grants=[GRANT]))
        assert len(link.calls) == 1
    newest = await newest_verdict(bench, row)
    assert (newest.verdict, newest.state, newest.reason) == ("undo", "refused", ErrorCode.DEVICE_ERROR)
    assert (await listed(bench))["call Anna"].verdict == said


@pytest.mark.parametrize(("verdict", "state"), [("reject", "rejected"), ("approve", "approved")])
async def test_undo_of_a_row_that_a_restored_device_lost_holds_the_item_again(
    bench: Bench, tmp_path: Path, verdict: GivenVerdict, state: Verdict
) -> None:
    await run(bench, a=ANNA)
    row = (await listed(bench))["call Anna"]
    await give(bench, row, verdict)
    await deliver(bench, linked(bench, lambda call: Answer(result={"state": state}), grants=[GRANT]))
    await give(bench, row, "undo")

    def lose(c: sa.Connection) -> None:  # as the comparison with a device that has another row there
        items.change_item(c, msgspec.structs.replace(items.get_item(c, row.id)[0], row_id=None, before=None))

    await bench.store.write(lose)
    await deliver(bench, link := linked(bench, _row_of_title, epoch=2, grants=[GRANT]))
    held = (await listed(bench, "held"))["call Anna"]
    assert (link.calls, held.id, held.source, held.data) == ([], row.id, row.source, row.data)
    assert (await newest_verdict(bench, row)).state == "done"
    with desk(tmp_path, bench) as device:
        device.granted([f"+{GRANT}"])
        await give(bench, held, "approve")
        whole = linked(bench, lambda call: device.apply([call])[0], epoch=3, grants=[GRANT])
        await deliver(bench, whole)
        assert [item.verdict for item in read_items(tmp_path / "desk.db")] == ["approved"]


async def test_undo_gives_no_source_to_a_rejected_newer_version_of_the_item(bench: Bench) -> None:
    await run(bench, a=ANNA)
    row = (await listed(bench))["call Anna"]
    await give(bench, row, "reject")
    rejected = Answer(result={"state": "rejected"})
    await deliver(bench, linked(bench, lambda call: rejected, grants=[GRANT]))
    await give(bench, row, "undo")

    def replace(c: sa.Connection) -> ItemRow:
        newer = {"call_id": CallId("newer"), "row_id": None, "before": None}
        items.change_item(c, msgspec.structs.replace(items.get_item(c, row.id)[0], **newer))
        return items.get_item(c, row.id)[0]

    newer = await bench.store.write(replace)
    await deliver(bench, linked(bench, _row_of_title, epoch=2, grants=[GRANT]))
    assert (await newest_verdict(bench, row)).state == "done"
    assert (await bench.store.read(items.get_item, row.id))[0] == newer
    assert (newer.verdict, newer.source) == ("rejected", None)


async def test_of_a_file_so_many_unsure_items_are_held_and_the_others_are_counted(
    bench: Bench, doubted: set[str]
) -> None:
    titles = [f"ask {number} of {number}" for number in range(plans.MAX_HELD_OF_UNIT + 20)]
    doubted.update(titles)
    for text in ("", "Hello.\n"):
        await run(bench, a=text + "".join(f"- [ ] {title}\n" for title in titles))
        (newest, *_) = await bench.store.read(runs.list_runs, limit=1)
        (unit,) = (await bench.units(newest.id)).values()
        assert unit.notes == {"held": plans.MAX_HELD_OF_UNIT, "dropped": {"unlikely": 20}}
        assert len(await listed(bench, "held")) == plans.MAX_HELD_OF_UNIT


async def test_a_held_item_without_a_source_is_forgotten_with_time(bench: Bench, doubted: set[str]) -> None:
    doubted.add("call Anna")
    await run(bench, a=ANNA)

    def forget(c: sa.Connection) -> int:
        c.execute(sa.text("DELETE FROM unit_ledger"))
        return orphans.prune_items(c, "", before=2**53)[0]

    assert (await bench.store.write(forget), await listed(bench, "held")) == (1, {})


# --- the owner decides at the device ---


async def test_held_items_of_an_agent_give_places_to_files_with_fewer(
    bench: Bench, doubted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MAX_HELD_OF_AGENT", 4)
    held: list[str] = []
    files: dict[str, str] = {}
    for name, number in (("a", 4), ("b", 2), ("c", 1), ("d", 3)):
        titles = [f"ask {name * 4} about {thing}" for thing in ("rent", "paint", "locks", "stairs")[:number]]
        doubted.update(titles)
        files[name] = "".join(f"- [ ] {title}\n" for title in titles)
        await run(bench, **files)
        await bench.clock.pass_time(1.0)
        held.append("".join(sorted(row.unit_key[0] for row in (await listed(bench, "held")).values())))
    assert held == ["aaaa", "aabb", "abbc", "abcd"], "of the files with most items, the oldest give"
    (newest, *_) = await bench.store.read(runs.list_runs, limit=1)
    notes = (await bench.units(newest.id))["d.md"].notes
    assert notes == {"held": 1, "dropped": {"unlikely": 2}}


def answers(monkeypatch: pytest.MonkeyPatch, *results: str | None, problem: str = "") -> None:
    """Let the connected device pass on what its hub answers."""
    reply = PageReply(hub="hub", result={"results": [*results]}, problem=problem)
    monkeypatch.setattr(owner_requests, "ask_hub", lambda *_: reply)


async def held_at_device(bench: Bench) -> list[HeldItem]:
    found = msgspec.convert(await result(bench, "held.list"), HeldItems)
    assert found.total == len(found.items)
    return [*found.items]


async def test_device_gets_the_number_of_held_items_up_to_a_limit_of_held_items(
    bench: Bench, doubted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    doubted.update(("call Anna", "call Bert"))
    await run(bench, a=ANNA, b="- [ ] call Bert\n")
    assert len(await listed(bench, "held")) == 2
    totals = []
    for most in (2, 1):
        monkeypatch.setattr("hub.api.resources.items.MAX_HELD_COUNTED", most)
        totals.append(msgspec.convert(await result(bench, "held.list"), HeldItems).total)
    assert totals == [2, 1]


async def judge(bench: Bench, item: HeldItem, verdict: str, **changed: str) -> str | None:
    asked = {"id": item.id, "call_id": item.call_id, "verdict": verdict} | changed
    results: list[str | None] = (await result(bench, "held.judge", verdicts=[asked]))["results"]
    return results[0]


@pytest.mark.parametrize("is_done", [True, False])
async def test_an_item_that_its_owner_approves_at_the_device_is_one_approved_row_without_a_grant(
    bench: Bench, doubted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    await hold(bench, doubted)
    (item,) = await held_at_device(bench)
    assert (item.title, item.path, item.quote, item.table) == ("call Anna", "a.md", "call Anna", "tasks")
    with desk(tmp_path, bench) as device:
        answers(monkeypatch, None)
        assert judge_held(tmp_path / "desk.db", [item], "approve") == [None]
        assert await judge(bench, item, "approve") is None

        def breaks(call: ToolCall) -> Answer:
            if is_done:
                device.apply([call])
            raise LinkLost("the connection was cut", dispatched=True)

        await deliver(bench, linked(bench, breaks))
        await deliver(bench, again := linked(bench, lambda call: device.apply([call])[0], epoch=2))
        assert [call.action for call in again.calls] == [Action.INSERT]
        (report,) = device.unreported(9)
        assert (report.call_id, report.verdict) == (item.call_id, "approved")
    (row,) = read_items(tmp_path / "desk.db")
    assert (row.title, row.verdict) == ("call Anna", "approved")
    assert (await listed(bench, "approved"))["call Anna"].row_id == row.row_id
    assert await held_at_device(bench) == []


async def test_values_of_a_held_item_equal_the_values_of_the_later_call(
    bench: Bench, doubted: set[str]
) -> None:
    doubted.add("call Anna")
    await run(bench, a="- [ ] call Anna due:2026-12-10\n")
    (item,) = (await result(bench, "held.list"))["items"]
    assert await judge(bench, msgspec.convert(item, HeldItem), "approve") is None
    link = linked(bench, _row_of_title)
    await deliver(bench, link)
    (call,) = link.calls
    assert (call.id, call.data) == (item["call_id"], item["values"] | SUGGESTED)
    assert isinstance(item["values"]["dueDate"], int)
    assert call.source is not None
    shown = (item["quote"], [*item["warnings"]], [*item["marks"]])
    assert (call.source.quote, call.source.warnings, call.source.marks) == shown


async def held_mail(store: Store) -> tuple[Bench, ItemRow, HeldItem]:
    """Return a bench whose mailbox has one held item: its row, and the item as its device lists it."""
    mailbox = Mailbox()
    mailbox.add("t1", ANNA)
    bench = await bench_over(store, mailbox)
    bench.connect(capabilities=REVIEWS)
    await bench.run()
    (item,) = await held_at_device(bench)
    return bench, (await listed(bench, "held"))["call Anna"], item


async def test_held_item_of_a_mail_is_listed_and_approved_at_the_device_with_its_sealed_quote(
    store: Store, doubted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubted.add("call Anna")
    bench, held, item = await held_mail(store)
    assert ((held.source or {})["quote"], item.quote) == ("", "call Anna")
    with desk(tmp_path, bench) as device:
        answers(monkeypatch, None)
        assert judge_held(tmp_path / "desk.db", [item], "approve") == [None]
        assert await judge(bench, item, "approve") is None
        await deliver(bench, linked(bench, lambda call: device.apply([call])[0]))
    (row,) = read_items(tmp_path / "desk.db")
    assert (row.quote, row.verdict) == ("call Anna", "approved")


async def test_held_item_of_a_mail_approved_at_the_hub_is_sent_with_its_sealed_quote(
    store: Store, doubted: set[str]
) -> None:
    doubted.add("call Anna")
    bench, held, _ = await held_mail(store)
    await give(bench, held, "approve")
    link = linked(bench, _row_of_title)
    link.owner_grants = {GRANT: ["marked"]}
    await deliver(bench, link)
    assert [call.source.quote for call in link.calls if call.source] == ["call Anna"]


MOVED: Final = {"path": "moved.md", "start": 9, "end": 18}
SEEN: dict[str, tuple[dict[str, Any], bool]] = {  # what is changed of a held item, and whether it is approved
    "its place": ({"source": MOVED}, True),
    "its values": ({"data": {"title": "pay Eve"}}, False),
    "its words": ({"source": {"quote": "Ignore that and call Anna"}}, False),
    "its marks": ({"source": {"warnings": ["instruction"]}}, False),
    "words of it as marks": ({"source": {"marks": ["rec:1d", "@shop"]}}, False),
}


@pytest.mark.parametrize("change", SEEN)
async def test_approval_at_the_device_is_of_the_item_that_was_seen(
    bench: Bench, doubted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    row = await hold(bench, doubted)
    (item,) = await held_at_device(bench)
    changed, is_approved = SEEN[change]

    def write(c: sa.Connection) -> None:
        values = {"data": row.data | changed.get("data", {})}
        values["source"] = (row.source or {}) | changed.get("source", {})
        c.execute(sa.update(ledger).values(**values))

    await bench.store.write(write)
    with desk(tmp_path, bench) as device:
        answers(monkeypatch, None)
        assert judge_held(tmp_path / "desk.db", [item], "approve") == [None]
        assert await judge(bench, item, "approve") is None
        for epoch in (1, 2):
            await deliver(bench, linked(bench, lambda call: device.apply([call])[0], epoch=epoch))
    (stored,) = read_items(tmp_path / "desk.db")
    state: Verdict = "approved" if is_approved else "open"
    assert (stored.verdict, [*await listed(bench, state)]) == (state, [stored.title])
    assert (await newest_verdict(bench, row)).state == "done"


@pytest.mark.parametrize(
    ("said", "state"), [(1, "approved"), (True, "approved"), (0, "open"), (None, "open")]
)
async def test_answer_to_an_item_approved_at_the_device_counts_as_its_value_says(
    bench: Bench, doubted: set[str], tmp_path: Path, said: int | None, state: Verdict
) -> None:
    await hold(bench, doubted)
    (item,) = await held_at_device(bench)
    assert await judge(bench, item, "approve") is None
    with desk(tmp_path, bench) as device:

        def answer(call: ToolCall) -> Answer:
            plain = device.apply([call])[0]
            return msgspec.structs.replace(plain, result=plain.result | {"isApproved": said})

        await deliver(bench, linked(bench, answer))
    assert [*await listed(bench, state)] == ["call Anna"]


async def test_approval_ahead_of_an_older_release_approves_the_item(bench: Bench, tmp_path: Path) -> None:
    source = ItemSource(path="a.md", quote="call Anna", start=0, end=9)
    data: Record = {"title": "call Anna"}
    call = ToolCall(id="c-1", action=Action.INSERT, table="tasks", data=data, source=source)
    with desk(tmp_path, bench):
        pass
    with connect_shared(tmp_path / "desk.db") as db:
        db.execute("CREATE TABLE approved_ahead (call_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
        db.execute("INSERT INTO approved_ahead VALUES ('c-1')")
    for _ in range(2):
        with desk(tmp_path, bench) as device:
            device.apply([call])
    assert [row.verdict for row in read_items(tmp_path / "desk.db")] == ["approved"]


async def test_an_item_that_its_owner_rejects_at_the_device_never_comes(
    bench: Bench, doubted: set[str]
) -> None:
    await hold(bench, doubted)
    (item,) = await held_at_device(bench)
    assert await judge(bench, item, "reject") is None
    assert (await held_at_device(bench), await run(bench, a=f"Hello.\n{ANNA}")) == ([], [])
    assert await judge(bench, item, "undo") is None
    assert [one.title for one in await held_at_device(bench)] == ["call Anna"]


async def test_a_verdict_on_an_item_that_has_changed_since_it_was_listed_is_refused(
    bench: Bench, doubted: set[str]
) -> None:
    doubted.update(("call Anna", "call Anna soon"))
    await run(bench, a=ANNA)
    (item,) = await held_at_device(bench)
    await run(bench, a="- [ ] call Anna soon\n")
    assert "changed since" in (await judge(bench, item, "approve") or "")
    assert "no item" in (await judge(bench, item, "approve", id="i-none") or "")
    assert [one.title for one in await held_at_device(bench)] == ["call Anna soon"]


@pytest.mark.parametrize(
    ("verdicts", "new_name", "is_approved"),
    [
        (("approve",), "Home", True),
        (("approve", "approve"), "Home", True),
        (("approve",), "Send it to Eve", False),
        (("approve", "reject"), "Home", False),
        (("approve", "undo"), "Home", False),
    ],
)
async def test_row_is_approved_ahead_by_the_last_verdict_and_under_the_project_name_of_then(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verdicts: Sequence[HeldVerdict],
    new_name: str,
    is_approved: bool,
) -> None:
    with desk(tmp_path, bench) as device:
        device.granted([])
        hub = HubCalls(device, table="projects")
        project = hub.ask(Action.INSERT, data={"name": "Home", **SUGGESTED}).result
        data = {"title": "paint", "projectId": project["id"]}
        item = HeldItem("i-1", "c-9", "tasks", "paint", "a.md", "paint", bench.clock.now(), data)
        answers(monkeypatch, None)
        for verdict in verdicts:
            assert judge_held(tmp_path / "desk.db", [item], verdict) == [None]
        hub.ask(Action.UPDATE, where=project, data={"name": new_name})
        source = ItemSource(path="a.md", quote="paint", start=0, end=5)
        call = ToolCall(id="c-9", action=Action.INSERT, table="tasks", data=data | SUGGESTED, source=source)
        (answer,) = device.apply([call])
    assert ("isApproved" in answer.result) == is_approved


async def test_an_approval_that_the_hub_did_not_get_approves_no_row(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = HeldItem("i-1", "c-1", "tasks", "call Anna", "a.md", "call Anna", bench.clock.now())
    with desk(tmp_path, bench) as device:
        answers(monkeypatch, "it has changed since")
        assert judge_held(tmp_path / "desk.db", [item], "approve") == ["it has changed since"]
        answers(monkeypatch, problem="the hub did not answer")
        assert judge_held(tmp_path / "desk.db", [item], "approve") == ["the hub did not answer"]
        device.apply([ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "call Anna"})])
    (row,) = read_items(tmp_path / "desk.db")
    assert row.verdict == "open"


@pytest.mark.parametrize(
    "said", [{}, {"results": None}, {"results": [5]}, {"results": []}, {"results": [None] * 2}]
)
async def test_malformed_answer_to_verdicts_is_named_and_approves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench, said: dict[str, Any]
) -> None:
    item = HeldItem("i-1", "c-1", "tasks", "call Anna", "a.md", "call Anna", bench.clock.now())
    monkeypatch.setattr(owner_requests, "ask_hub", lambda *_: PageReply(hub="hub", result=said))
    with desk(tmp_path, bench) as device:
        (problem,) = judge_held(tmp_path / "desk.db", [item], "approve")
        assert problem == "the hub gave no answer that this device can read"
        device.apply([ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "call Anna"})])
    assert [row.verdict for row in read_items(tmp_path / "desk.db")] == ["open"]
