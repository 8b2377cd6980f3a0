"""Hub and device agree about the past: whatever was restored or lost, each item is at the device once."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from hub.api.resources.items import ItemsResource
from hub.device.device_file import DeviceStore
from hub.device.items import read_items
from hub.device.owner import approve, edit, reject
from hub.links.roster import Roster
from hub.runs.agreement import MAX_LISTINGS, Agreements
from hub.runs.verdict_delivery import VerdictDelivery
from protocol.errors import ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.handshake import StoreMark
from protocol.ids import CallId
from protocol.tool_calls import Action, Answer, ToolCall
from storage.runs import agreement, calls
from storage.runs.calls import ReportedVerdict
from storage.schema import devices, items
from storage.store import Store
from tests.hub.runs.past import Past, store_of_device
from tests.storage.test_items import DESK, EPOCH, at_device, give, stored
from tests.support.clock import FakeClock
from tests.support.excerpts import excerpt_seals
from tests.support.link import FakeLink
from tests.support.runs import Bench
from tests.support.wire import until

RULES = {f"notes/list{n}.md": f"- [ ] mend roof {n}\n- [ ] paint wall {n}\n" for n in range(3)}
PROSE = {f"notes/letter{n}.md": f"Dear all. We must send offer {n}. It rained." for n in range(3)}
EARLIER = {"notes/first.md": "- [ ] buy milk\n", "notes/hello.md": "We must call Bob. Then we rest."}
AT_ONCE = {("before", "after"), ("after", None), (None, "after"), ("middle", "before")}
_PAGE = {"store": {"id": "s", "counter": 9}, "more": True}
_ROW = {"counter": 0, "call_id": "c", "table": "tasks", "row_id": "r", "state": "open"}
MOMENTS = ("empty", "before", "middle", "after", None)  # None: the file is lost


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


@pytest.fixture(scope="module")
async def first_days(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Three runs, with copies of both files before, between and behind them."""
    past = Past(tmp_path_factory.mktemp("first_days"))
    await past.visit()
    past.keep("empty")
    past.files |= EARLIER
    await past.visit()
    past.keep("before")
    past.files |= {path: RULES[path] for path in list(RULES)[:2]} | dict(list(PROSE.items())[:1])
    await past.visit()
    past.keep("middle")
    past.files |= RULES | PROSE
    await past.visit()
    past.keep("after")
    return past


@pytest.fixture
def lived(first_days: Past, tmp_path: Path) -> Past:
    """Return a world of the test's own that has had its first days."""
    return first_days.moved_to(tmp_path)


@pytest.mark.parametrize(
    ("hub", "device"),
    [
        pytest.param(hub, device, marks=[] if (hub, device) in AT_ONCE else pytest.mark.soak)
        for hub in MOMENTS
        for device in MOMENTS
    ],
)
async def test_each_item_has_a_single_device_row_after_restore_or_loss(
    lived: Past, hub: str | None, device: str | None
) -> None:
    wanted = lived.items()
    assert len(wanted) == 11 and set(wanted.values()) == {1}
    lived.put_back(lived.hub_file, hub)
    lived.put_back(lived.device_file, device)
    await lived.visit()
    assert lived.items() == wanted
    assert (await lived.visit(), lived.items()) == (0, wanted)


APPROVE: Any = partial(approve, at_ms=5)
DELETE: Any = partial(reject, deletes=True)


async def goes_through(past: Past, *steps: Any) -> list[int]:
    """Take each step: files of a folder, a visit, a copy of a database kept or put back, a decision.

    Return how many calls each visit with a run has sent.
    """
    sends = []
    for step in steps:
        match step:
            case dict():
                past.files = step
            case "visit":
                sends.append(await past.visit())
            case "connect":
                await past.visit(runs=0)
            case "report":
                await past.report()
            case "keep", str(name):
                past.keep(name)
            case ("hub" | "device") as which, copy:
                past.put_back(past.hub_file if which == "hub" else past.device_file, copy)
            case decide, rows:
                with past.device():
                    decide(past.device_file, rows)
    return sends


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [("device", None), "connect"]),
        ([(reject, [1, 5])], [("hub", None), "visit"]),
        ([("hub", None), "connect", (APPROVE, [2]), (DELETE, [1, 2, 5])], ["report", "visit"]),
    ],
    ids=["rows lost, before any run", "rejected, at a new hub", "rejected once a new hub knows them"],
)
async def test_device_rows_are_complete_again_after_a_loss(
    lived: Past, before: list[Any], after: list[Any]
) -> None:
    await goes_through(lived, *before)
    wanted = lived.items()
    await goes_through(lived, *after)
    assert lived.items() == wanted


@pytest.mark.parametrize(
    "steps", [[("hub", "before")], [(APPROVE, [2, 3]), ("hub", None)]], ids=["by place", "approved"]
)
async def test_agreement_pairs_rows_by_listing_without_other_calls(lived: Past, steps: list[Any]) -> None:
    await goes_through(lived, *steps)
    lived.asked.clear()
    await lived.visit()
    assert {call.action for call in lived.asked} == {Action.ROWS_LIST}


def one_list(*lines: str) -> dict[str, str]:
    return {"notes/list.md": "".join(f"{line}\n" for line in lines)}


def table(day: str) -> dict[str, str]:
    return {"notes/list.csv": f"title,due,status\nmend roof,{day},open\n"}


ANNA = [one_list(f"- [ ] call Anna on {day}") for day in ("Friday", "Monday")]
OFFER = [one_list(f"- [ ] send the offer to {name}") for name in ("Ana", "Bo")]
ROOF = {"notes/b.md": "- [ ] mend the roof\n"}
LETTER = {"notes/letter.md": "We must send offer 1."}
DUE = table("2026-12-01")
NAMED = [
    DUE | {"notes/letter.md": "We must send offer 1. It rained."},
    {"notes/plans.csv": DUE["notes/list.csv"], "notes/mail.md": "We must send offer 1. It rained."},
]

MODEL = "a title by the model"  # it has another one each time

# Steps, the titles at the device, and how many calls the last visits have sent.
PASTS: dict[str, tuple[list[Any], list[str], list[int]]] = {
    "a line changed while the hub was lost": (
        [ANNA[0], "visit", ("hub", None), ANNA[1], "visit"],
        ["call Anna on Monday"],
        [],
    ),
    "a line is again what a restored hub knows": (
        [ANNA[0], "visit", ("keep", "before"), ANNA[1], "visit", ("hub", "before"), ANNA[0], "visit"],
        ["call Anna on Friday"],
        [],
    ),
    "a device restored to before it was lost": (
        [
            *(ANNA[0], "visit", ("keep", "before")),
            *(("device", None), ANNA[1], "visit"),
            *(("device", "before"), "visit"),
        ],
        ["call Anna on Monday"],
        [],
    ),
    "a copy of a file at a new hub": (
        [
            *(ROOF, "visit"),
            *(ROOF | {"notes/a.md": ROOF["notes/b.md"]}, "visit"),
            *((reject, [1]), ("hub", None), "visit"),
        ],
        [],
        [],
    ),
    "a row of an older day does not undo a rejection": (
        [
            *(OFFER[0], "visit", ("keep", "before")),
            *(OFFER[1], "visit", (reject, [1]), "report"),
            *(("device", "before"), one_list("- [ ] send the offer to Bo", "Hello."), "visit"),
        ],
        ["send the offer to Ana"],
        [],
    ),
    "a row of an older day is known though its item was rejected": (
        [
            *("visit", ("keep", "empty")),
            *(OFFER[0], "visit", ("keep", "before")),
            *(OFFER[1], "visit", (reject, [1]), "report"),
            *(("device", "before"), one_list("- [ ] send the offer to Ana", "Hello."), "visit"),
            *(("hub", "empty"), "visit"),
        ],
        ["send the offer to Ana"],
        [],
    ),
    "an approved row of an older day is known though its device lost it": (
        [
            *(DUE, "visit", (APPROVE, [1]), "report"),
            *(table("2026-12-11"), "visit", (reject, [1]), "report"),
            *(("keep", "before"), ("device", None), "connect"),
            *(("device", "before"), "connect", ("device", None), "connect"),
        ],
        ["mend roof"],
        [],
    ),
    "a hub of a lost day sends nothing again to a device that lost its first row": (
        [
            *(LETTER, "visit", ("keep", "before")),
            *(("device", None), ("hub", None), "visit", ("hub", "before"), "visit"),
        ],
        [MODEL],
        [],
    ),
    **{
        f"approved items of renamed files at a hub of {hub or 'a new day'}": (
            [
                *("visit", ("keep", "before"), NAMED[0], "visit", (APPROVE, [1, 2])),
                *(NAMED[1], "visit", ("hub", hub), "visit"),
            ],
            [MODEL, "mend roof"],
            [0, 0],
        )
        for hub in ("before", None)
    },
    "a sentence of two files": (
        [
            {
                "notes/a.md": "We must send offer 1.",
                "notes/b.md": "Dear all. We must send offer 1. It rains.",
            },
            "visit",
        ],
        [MODEL],
        [1],
    ),
    "a sentence of a changed file": (
        [LETTER, "visit", {"notes/letter.md": "We must send offer 1. It rains."}, "visit"],
        [MODEL],
        [1, 0],
    ),
}
PASTS_AT_ONCE = {
    "a line changed while the hub was lost",
    "a device restored to before it was lost",
    "a row of an older day is known though its item was rejected",
    "an approved row of an older day is known though its device lost it",
    "approved items of renamed files at a hub of before",
    "a sentence of two files",
    "a sentence of a changed file",
}


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[] if name in PASTS_AT_ONCE else pytest.mark.soak) for name in PASTS]
)
async def test_each_item_has_a_single_device_row_after_losses_and_changes(past: Past, case: str) -> None:
    steps, titles, sends = PASTS[case]
    sent = await goes_through(past, *steps)
    found = (item.title if item.title in titles else MODEL for item in read_items(past.device_file))
    assert sorted(found) == titles
    assert sent[len(sent) - len(sends) :] == sends


@pytest.mark.parametrize("hub", ["before", pytest.param(None, marks=pytest.mark.soak)])
async def test_approved_row_lost_by_hub_and_device_is_restored_with_due_date(
    past: Past, hub: str | None
) -> None:
    await past.visit()
    past.keep("before")
    past.files = {"notes/rent.md": "- [ ] pay rent \N{CALENDAR} 2026-12-01\n"}
    await past.visit()
    (before,) = read_items(past.device_file)
    with past.device():
        approve(past.device_file, [1], at_ms=5)
    past.put_back(past.hub_file, hub)
    await past.visit(runs=0)
    past.put_back(past.device_file, None)
    await past.visit()
    (item,) = read_items(past.device_file)
    assert (item.data, "dueDate" in item.data) == (before.data, True)


async def test_item_restored_after_loss_of_hub_and_device_retains_the_time_zone(
    past: Past,
) -> None:
    past.files = {"notes/list.csv": "title,due,status\nmend roof,2026-12-01,open\n"}
    await past.visit()
    (before,) = read_items(past.device_file)
    for file in (past.hub_file, past.device_file):
        past.put_back(file, None)
        await past.visit(runs=0)
    (item,) = read_items(past.device_file)
    assert item.remarks.timezone == before.remarks.timezone == "UTC"


async def test_agreement_cut_at_any_call_is_completed_by_the_next_visit(lived: Past) -> None:
    wanted = lived.items()
    for break_after in (1, 3, 7):
        lived.put_back(lived.device_file, None)
        lived.on_call = Cut(break_after)
        async with lived.hub() as bench:
            with lived.device() as device:
                link = await lived.connect(bench, device)
                async with lived.agreeing(bench) as service:
                    for _ in range(200):
                        await bench.store.read(store_of_device)
                    assert not service.agrees(link)
        lived.on_call = lambda call: None
        await lived.visit(runs=0)
        assert lived.items() == wanted


class Cut:
    """Lets so many calls through; then the connection is gone."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, call: ToolCall) -> None:
        self.left -= 1
        if self.left < 0:
            raise LinkLost("cut", dispatched=False)


async def test_restored_source_line_is_inserted_once_although_the_old_row_was_edited(past: Past) -> None:
    await past.visit()
    past.keep("empty")
    first, second = "- [ ] call Anna on Friday\n", "- [ ] call Anna on Monday\n"
    for text in (first, second):
        past.files = {"notes/a.md": text}
        await past.visit()
    with closing(sqlite3.connect(past.device_file)) as owner, owner:
        owner.execute("UPDATE tasks SET description = 'at noon'")
    past.put_back(past.hub_file, "empty")
    past.files = {"notes/a.md": first}
    for _ in range(2):
        await past.visit()
        assert past.items()["notes/a.md", "call Anna on Friday"] == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(result={"rows": "none"}), "answered with something else"),
        (Answer(result=_PAGE | {"rows": [_ROW]}), "listed again rows up to 0"),
        (Answer(error=ErrorBody(code="busy", message="later", retryable=True)), "later"),
    ],
)
async def test_device_failing_to_list_rows_gets_no_run_but_a_problem(
    past: Past, answer: Answer, told: str
) -> None:
    async with past.hub() as bench:
        with past.device() as device:
            link = await past.connect(bench, device)

            async def wrong(call: ToolCall) -> Answer:
                return answer

            link.call = wrong  # type: ignore[assignment, method-assign]
            async with past.agreeing(bench) as service:
                with anyio.fail_after(10):
                    while (await bench.store.read(store_of_device)).problem is None:
                        await anyio.lowlevel.checkpoint()
                assert not service.agrees(link)
        assert told in str((await bench.store.read(store_of_device)).problem)


class Owner:
    """Owner of the only row, who edits it while hub and device compare rows; the device reports it."""

    def __init__(
        self, past: Past, bench: Bench, device: DeviceStore, service: Agreements, link: FakeLink
    ) -> None:
        self._past, self._device, self._link = past, device, link
        self._ask, link.call = link.call, self.answer  # type: ignore[assignment, method-assign]
        self.edits, self.is_deciding, self.goes_on = 0, False, False
        self._items = ItemsResource(
            bench.store,
            roster=Roster(lambda _: None, metrics=bench.metrics),
            clock=bench.clock,
            ids=bench.ids,
            metrics=bench.metrics,
            seals=bench.seals,
            reporting=service.reporting,
        )

    async def decide(self) -> None:
        self.edits += 1
        edit(self._past.device_file, [1], {"title": f"buy milk {self.edits}"}, at_ms=6)
        told = [ReportedVerdict(CallId(one.call_id), one.verdict) for one in self._device.unreported(9)]
        await self._items.report(self._link, told)

    async def answer(self, call: ToolCall) -> Answer:
        """Answer as the device; the owner decides once the rows are listed, once or each time."""
        listed = await self._ask(call)
        if call.action is Action.ROWS_LIST and self.is_deciding:
            self.is_deciding = self.goes_on
            await self.decide()
        return listed


@asynccontextmanager
async def comparing(
    past: Past, *, is_restored: bool = False
) -> AsyncIterator[tuple[Bench, Agreements, Owner]]:
    """Begin to compare rows; the owner has approved the only one, which the device has reported."""
    await past.visit()
    past.keep("empty")
    past.files = {"notes/list.md": "- [ ] buy milk\n"}
    await past.visit()
    with past.device():
        approve(past.device_file, [1], at_ms=5)
    await past.report()
    if is_restored:
        past.put_back(past.hub_file, "empty")
    async with past.hub() as bench:
        with past.device() as device:
            link = await past.connect(bench, device)
            async with past.agreeing(bench) as service:
                yield bench, service, Owner(past, bench, device, service, link)


async def agreed(bench: Bench, service: Agreements) -> None:
    (link,) = bench.links.values()
    await until(lambda: service.agrees(link))


async def verdict(bench: Bench) -> str:
    return await bench.store.read(lambda c: str(c.execute(sa.select(items.c.verdict)).scalar_one()))


@pytest.mark.parametrize("is_restored", [False, True])
async def test_verdict_made_after_the_row_listing_is_not_overwritten_by_the_list(
    past: Past, is_restored: bool
) -> None:
    """A restored hub knows the item by the list alone, and cannot store a decision about it before."""
    async with comparing(past, is_restored=is_restored) as (bench, service, owner):
        owner.is_deciding = True
        await agreed(bench, service)
        assert await verdict(bench) == "edited"


async def test_verdict_received_during_the_write_of_a_row_list_is_written_afterwards(past: Past) -> None:
    async with comparing(past) as (bench, service, owner):
        write = bench.store.write

        async def overtaken(job: Any, *given: Any, **named: Any) -> Any:
            if job is agreement.take_rows:
                report.start_soon(owner.decide)
                for _ in range(20):
                    await bench.store.read(store_of_device)
            return await write(job, *given, **named)

        bench.store.write = overtaken  # type: ignore[assignment, method-assign]
        async with anyio.create_task_group() as report:
            await agreed(bench, service)
        assert await verdict(bench) == "edited"


async def test_frozen_hub_writes_no_row_page_after_another_hub_took_the_device(
    past: Past,
) -> None:
    """The device was restored meanwhile: its counter is lower, and another hub is to compare all rows."""
    async with comparing(past, is_restored=True) as (bench, service, _):
        (link,) = bench.links.values()
        write = bench.store.write

        def taken_over(c: sa.Connection) -> None:
            c.execute(sa.update(devices).values(session_epoch=link.epoch + 1))
            agreement.greet(c, link.device_id, StoreMark(id="restored", counter=0), bench.now_ms)

        async def frozen(job: Any, *given: Any, **named: Any) -> Any:
            if job is not agreement.take_rows:
                return await write(job, *given, **named)
            await write(taken_over)
            try:
                return await write(job, *given, **named)
            finally:
                is_over.set()

        is_over = anyio.Event()
        bench.store.write = frozen  # type: ignore[assignment, method-assign]
        with anyio.fail_after(10):
            await is_over.wait()
        await anyio.wait_all_tasks_blocked()
        row = await bench.store.read(store_of_device)
        assert (row.store_id, row.counter, row.agreed_at, row.problem) == ("restored", 0, None, None)
        assert not service.agrees(link)


async def test_device_reporting_verdicts_at_each_listing_is_given_up_after_the_limit(past: Past) -> None:
    async with comparing(past) as (bench, _, owner):
        owner.is_deciding = owner.goes_on = True
        with anyio.fail_after(10):
            while (problem := (await bench.store.read(store_of_device)).problem) is None:
                await anyio.lowlevel.checkpoint()
        assert "reported decisions" in problem
        assert owner.edits == MAX_LISTINGS


async def test_agreement_result_is_stored_with_cause_and_counts_of_rows(lived: Past) -> None:
    lived.put_back(lived.device_file, "before")
    await lived.visit(runs=0)
    async with lived.hub() as bench:
        row = await bench.store.read(store_of_device)
        assert (row.cause, row.sent, row.taken, row.refused) == ("store_older", 9, 0, 0)
        assert row.agreed_at is not None


async def test_approved_row_with_a_rejected_change_gets_the_next_proposal(
    past: Past,
) -> None:
    for number, day in enumerate(("2026-12-01", "2026-12-11", "2026-12-12")):
        past.files = {"notes/list.csv": f"title,due,status\nmend roof,{day},open\n"}
        await past.visit()
        assert len(read_items(past.device_file)) == 1
        with past.device():
            if number == 0:
                approve(past.device_file, [1], at_ms=5)
            elif number == 1:
                reject(past.device_file, [1])
        await past.report()
    (item,) = read_items(past.device_file)
    assert item.proposal is not None and item.verdict == "approved"
    past.put_back(past.device_file, None)
    await past.visit(runs=0)
    assert [one.title for one in read_items(past.device_file)] == ["mend roof"], "it was never rejected"


@pytest.mark.parametrize("title", [pytest.param("mend roof", marks=pytest.mark.soak), "mend the roof"])
async def test_change_refused_before_a_restore_is_sent_to_the_older_row(past: Past, title: str) -> None:
    """Restore a device to a version of a row that is older than the one it had when it refused a change."""

    def refuse(call: ToolCall) -> Answer | None:
        if call.action is not Action.UPDATE:
            return None
        return Answer(error=ErrorBody(code=ErrorCode.BAD_PARAMS, message="not now"))

    for number, text in enumerate(
        ("mend roof,2026-12-01", "mend roof,2026-12-11", "mend the roof,2026-12-11")
    ):
        past.files = {"notes/list.csv": f"title,due,status\n{text},open\n"}
        if number == 2:
            past.on_call = refuse
        await past.visit()
        past.keep(str(number))
    past.put_back(past.device_file, "0")
    await past.visit(runs=0)
    past.on_call = lambda call: None
    past.files = {"notes/list.csv": f"title,due,status\n{title},2026-12-11,open\n\n"}
    await past.visit()
    (item,) = read_items(past.device_file)
    assert (item.title, item.data["dueDate"]) == (title, 1796947200000)


async def test_open_insert_updates_the_equal_row_of_a_restored_device(
    past: Past,
) -> None:
    past.files = {"notes/letter.md": "We must send offer 1."}
    await past.visit()
    past.keep("before")
    past.put_back(past.hub_file, None)
    past.put_back(past.device_file, None)
    past.files = {"notes/list.md": "- [ ] buy milk\n"}
    await past.visit()
    past.files |= {"notes/letter.md": "We must send offer 1."}
    async with past.hub() as bench:
        with past.device() as device:
            await past.agree(bench, await past.connect(bench, device))
            past.on_call = Cut(0)  # the new hub plans an insert, which does not arrive
            run = await bench.run()
        past.on_call = lambda call: None
        past.put_back(past.device_file, "before")
        with past.device() as device:
            await past.agree(bench, await past.connect(bench, device))
        (call,) = await bench.store.read(calls.open_calls, run.id)
    letter = next(item for item in read_items(past.device_file) if item.source_path == call.unit_key)
    assert (call.payload["action"], call.payload["where"]) == ("update", {"id": letter.row_id})


# --- verdicts that were given at the hub, on their way to a device whose connection breaks ---


GRANT = "review.remote"


async def deliver(store: Store, clock: FakeClock, link: FakeLink) -> Sequence[ToolCall]:
    """Let a hub send what is open over this connection, and return what it sent."""

    def connect(c: sa.Connection) -> None:
        c.execute(sa.update(devices).values(session_epoch=link.epoch))

    await store.write(connect)
    find_link = {DESK: link}.get
    delivery = VerdictDelivery(store, find_link=find_link, clock=clock, seals=excerpt_seals())
    async with anyio.create_task_group() as tasks:
        await tasks.start(delivery.serve)
        await clock.pass_time(0.0)
        tasks.cancel_scope.cancel()
    return link.calls


def rejected(c: sa.Connection) -> None:
    """An item that its owner has rejected at the hub."""
    at_device(c)
    give(c, "reject")


def linked(epoch: int, *answers: Answer | Exception, grants: Sequence[str] = ()) -> FakeLink:
    link = FakeLink(DESK, epoch=epoch, capabilities={"item.review"}, answers=answers)
    link.owner_grants = {grant: [] for grant in grants}
    return link


async def test_verdict_with_a_lost_answer_is_sent_again_without_the_grant(store: Store) -> None:
    clock = FakeClock()
    await store.write(rejected)
    lost = LinkLost("the connection was cut", dispatched=True)
    (sent,) = await deliver(store, clock, linked(EPOCH, lost, grants=[GRANT]))
    assert (await store.read(stored)).state == "sent"
    (again,) = await deliver(store, clock, linked(EPOCH + 1, Answer(result={"state": "rejected"})))
    assert (again.id, (await store.read(stored)).state) == (sent.id, "done")


async def test_approval_of_an_item_with_warnings_without_the_grant_is_not_sent(store: Store) -> None:
    def approved(c: sa.Connection) -> None:
        at_device(c)
        c.execute(sa.update(items).values(warnings=["instruction"]))
        give(c, "approve")

    await store.write(approved)
    assert await deliver(store, FakeClock(), linked(EPOCH, grants=[GRANT])) == []
    assert (await store.read(stored)).reason == ErrorCode.NOT_GRANTED


async def test_never_sent_verdict_is_refused_without_the_grant(store: Store) -> None:
    await store.write(rejected)
    assert await deliver(store, FakeClock(), linked(EPOCH)) == []
    row = await store.read(stored)
    assert (row.state, row.reason) == ("refused", ErrorCode.NOT_GRANTED)
