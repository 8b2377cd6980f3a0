"""A preview says what a run with other settings would find, and leaves nothing behind."""

import re
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from hub.base.toml.limits import NANOS, BudgetSettings, Limits
from hub.extraction.model import Finish, ModelAnswer, ModelRequest, Models, ModelUnavailable, Price
from hub.runs.previewing import MAX_PREVIEWS, PreviewItem, PreviewProblem, PreviewRequest, PreviewStep
from protocol.errors import CodedError, DeviceOffline, ErrorCode
from protocol.ids import AgentId
from protocol.tables import TableName
from protocol.work import AgentComplete, AgentData, FilePiece, Usage
from storage.agents import locks
from storage.agents.agents import AgentRow
from storage.agents.configs import Mailbox as MailboxConfig
from storage.connectors import seen_messages
from storage.runs import model_calls
from storage.runs.run_moves import CannotRun
from storage.runs.runs import RunRow
from storage.schema import items, metadata
from storage.store import Connection, Store
from tests.support.clock import FakeClock
from tests.support.coded import coded
from tests.support.link import FakeLink
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.runs import Bench, KeywordModel, declare_agent, declare_connector, folder

ABOUT_MEETINGS = PreviewRequest(prompt="Find meetings.")
KEPT = {"model_answers", "model_calls"}  # what a preview writes


class PromptedModel(KeywordModel):
    """Finds each sentence with the word after "Find" in the prompt, without the s at its end."""

    price = Price(1_000, 1_000)

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        await super().answer(request)
        (word,) = re.findall(r"Find (\w+)s\.", request.messages[0].content)[-1:]
        said = request.messages[-1].content
        records = [
            {"table": "tasks", "title": sentence[:-1], "quote": sentence}
            for sentence in re.findall(rf"\b[A-Z][a-z]* the {word}[^.]*\.", said)
        ]
        text = msgspec.json.encode({"items": records}).decode()
        return ModelAnswer(text=text, finish=Finish.WHOLE, usage=Usage(1, 100, 10, 110_000))


@pytest.fixture
def model() -> PromptedModel:
    return PromptedModel()


@pytest.fixture
async def bench(store: Store, agent: AgentRow, model: PromptedModel) -> Bench:
    return Bench(store, agent, model=model)


class Result(msgspec.Struct):
    """The last step of a preview, and the items and problems of all steps."""

    last: PreviewStep
    items: list[PreviewItem]
    problems: list[PreviewProblem]

    def titles(self, change: str) -> list[str]:
        """The titles of the items with this change, sorted."""
        return sorted(item.title for item in self.items if item.change == change)


async def previewed(bench: Bench, link: FakeLink | None, requested: PreviewRequest) -> Result:
    """A preview, made to its end."""
    preview = await bench.previews.open(bench.agent, requested, link)
    steps = [step async for step in preview.steps()]
    return Result(
        steps[-1],
        [item for step in steps for item in step.items],
        [problem for step in steps for problem in step.problems],
    )


async def contents(bench: Bench) -> dict[str, list[Any]]:
    """Every row of every table, apart from those that a preview may write."""

    def read(c: Connection) -> dict[str, list[Any]]:
        return {
            table.name: sorted(map(repr, c.execute(sa.select(table))))
            for table in metadata.sorted_tables
            if table.name not in KEPT
        }

    return await bench.store.read(read)


async def with_prompt(bench: Bench, prompt: str) -> None:
    """Give the agent another prompt."""
    bench.agent = await declare_agent(bench.store, at=2, prompt=prompt)


FILES = {
    "a": "Pay the invoice of May. Join the meeting on roofs.",
    "b": "Join the meeting with Ben. Pay the invoice of June.",
    "c": "Join the meeting with Ben.",
    "d": "It rained.",
}


async def first_run(bench: Bench) -> RunRow:
    """A run that has found the invoices."""
    await with_prompt(bench, "Find invoices.")
    bench.connect(runs=folder(**FILES))
    run = await bench.run()
    assert run.items_created == 2
    return run


async def test_preview_of_a_changed_prompt_lists_added_and_removed_items(
    bench: Bench, model: PromptedModel
) -> None:
    await first_run(bench)
    before, asked = await contents(bench), model.asked
    link = bench.connect(runs=folder(**FILES))

    found = await previewed(bench, link, ABOUT_MEETINGS)

    assert found.titles("added") == ["Join the meeting on roofs", "Join the meeting with Ben"]
    assert found.titles("removed") == ["Pay the invoice of June", "Pay the invoice of May"]
    assert (found.last.read, found.last.known, found.last.changed) == (4, 1, 0)
    last = found.last
    assert (last.model_requests, last.prompt_tokens, last.completion_tokens, last.usd) == (
        4,
        400,
        40,
        0.00044,
    )
    assert {item.quote for item in found.items if item.change == "added"} == {
        "Join the meeting on roofs.",
        "Join the meeting with Ben.",
    }
    assert (await contents(bench), link.calls, link.sent) == (before, [], [])

    await with_prompt(bench, "Find meetings.")
    link = bench.connect(runs=folder(**FILES))
    run = await bench.run()

    assert sorted(str(call.data["title"]) for call in link.calls) == found.titles("added")
    assert (run.items_created, run.items_known) == (found.last.added, found.last.known)
    assert (run.usage.requests, model.asked) == (0, asked + 4)  # paid by the preview


async def test_preview_of_an_unchanged_agent_lists_the_items_of_the_next_run(bench: Bench) -> None:
    await first_run(bench)
    link = bench.connect(runs=folder(**FILES, e="Pay the invoice of July."))
    found = await previewed(bench, link, PreviewRequest())
    assert found.titles("added") == ["Pay the invoice of July"]
    assert (found.last.listed, found.last.settled, found.last.to_read, found.last.read) == (5, 4, 1, 1)


async def test_preview_shows_a_changed_item_with_the_previous_values(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] call Anna by 2026-12-01\n"))
    await bench.run()
    link = bench.connect(runs=folder(a="- [ ] call Anna by 2026-12-04\n"))

    found = await previewed(bench, link, ABOUT_MEETINGS)

    (item,) = found.items
    assert item.change == "changed" and item.before is not None
    assert (item.before["dueDate"], item.data["dueDate"]) == ("2026-12-01", "2026-12-04")


async def test_preview_counts_an_item_waiting_for_the_device_as_known(bench: Bench) -> None:
    await first_run(bench)
    await bench.store.write(lambda c: c.execute(sa.update(items).values(answered_at=None)))
    others = PreviewRequest(data_types=(TableName.TASKS, TableName.NOTES))
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), others)
    assert (found.last.read, found.last.known, found.items) == (4, 2, [])


async def test_the_newest_files_are_read_if_a_number_is_given(bench: Bench) -> None:
    frames = folder(a="Pay the invoice of May.", b="Pay the invoice of June.", c="Pay the invoice of July.")
    manifest: Any = frames[0][0]
    times = zip(manifest.files, (2, 3, 1), strict=True)
    files = [msgspec.structs.replace(file, modified_ms=at) for file, at in times]
    frames[0][0] = msgspec.structs.replace(manifest, files=files)
    link = bench.connect(runs=frames)
    found = await previewed(bench, link, PreviewRequest(prompt="Find invoices.", newest=2))
    assert link.streams[0].fetched[-1][0] == ("b.md", "a.md")
    assert (found.last.listed, found.last.to_read, found.problems) == (3, 2, [])


async def test_preview_asks_the_requested_model_and_refuses_an_unknown_model(bench: Bench) -> None:
    other = PromptedModel()
    other.name = "other"
    bench.previews.model_named = lambda name: Models(other, other) if name == "other" else None
    await first_run(bench)

    found = await previewed(bench, bench.connect(runs=folder(**FILES)), PreviewRequest(model="other"))

    assert (other.asked, found.last.read, found.last.known) == (4, 4, 2)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="fallback_models"):
        await bench.previews.open(bench.agent, PreviewRequest(model="gone"), bench.connect())


async def test_unreachable_model_ends_the_preview_and_stops_no_run(bench: Bench) -> None:
    other = PromptedModel()
    other.errors["rained"] = ModelUnavailable("it is off")
    bench.previews.model_named = lambda name: Models(other, other)

    found = await previewed(bench, bench.connect(runs=folder(d="It rained.")), PreviewRequest(model="x"))

    assert found.last.failure is not None
    assert (found.last.failure.code, found.last.failure.message) == (ErrorCode.MODEL_UNAVAILABLE, "it is off")
    assert bench.asking.gates.away(allow_cloud=True) is None


async def test_questions_of_a_preview_are_charged_to_the_budgets_of_the_agent(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=0.0001)
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), ABOUT_MEETINGS)
    assert {problem.code for problem in found.problems} == {ErrorCode.BUDGET_REACHED}
    assert (found.last.model_requests, found.last.added) == (0, 0)

    bench.budgets.limits = BudgetSettings()
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), ABOUT_MEETINGS)
    spent = await bench.store.read(model_calls.spent_by, bench.agent.id, since=0)
    assert (spent.usage.cost_nanos, found.last.usd) == (440_000, 440_000 / NANOS)
    assert await bench.store.read(model_calls.costs, "run", since=0, until=bench.now_ms + 1) == []


async def test_preview_holds_the_locks_of_the_agent_while_reading(bench: Bench) -> None:
    bench.agent = await declare_agent(bench.store, at=2, locks=("mailbox",))
    link = bench.connect(runs=[folder(**FILES)[0][:-1]])  # the device does not say that it is done
    preview = await bench.previews.open(bench.agent, ABOUT_MEETINGS, link)
    steps = preview.steps()
    while (await anext(steps)).read < len(FILES):
        pass
    assert [lock.resource for lock in await bench.store.read(locks.list_locks)] == ["mailbox"]
    await steps.aclose()
    assert await bench.store.read(locks.list_locks) == []


async def test_preview_fails_while_another_holder_has_a_lock_of_the_agent(bench: Bench) -> None:
    bench.agent = await declare_agent(bench.store, at=2, locks=("mailbox",))
    other = locks.Holder("device", "another")
    request = locks.LockRequest(
        request_id="r", user_id=bench.agent.user_id, names=("mailbox",), holder=other, ttl_ms=500_000
    )
    await bench.store.write(locks.acquire, request)
    link = bench.connect(runs=folder(**FILES))
    found = await previewed(bench, link, ABOUT_MEETINGS)
    assert found.last.failure is not None and found.last.failure.code == ErrorCode.LOCK_HELD
    assert link.streams == []


async def test_preview_closed_by_the_reader_ends_and_stores_nothing(
    bench: Bench, model: PromptedModel
) -> None:
    await first_run(bench)
    before = await contents(bench)
    model.may_answer = anyio.Event()  # never
    preview = await bench.previews.open(bench.agent, ABOUT_MEETINGS, bench.connect(runs=folder(**FILES)))
    steps = preview.steps()
    await anext(steps)
    await steps.aclose()
    assert bench.previews.previewed == set()
    assert await contents(bench) == before


async def test_preview_is_refused_while_the_agent_or_hub_has_the_maximum(bench: Bench) -> None:
    bench.previews.previewed = {bench.agent.id}
    with pytest.raises(CodedError, check=coded(ErrorCode.BUSY), match="another preview of notes"):
        await bench.previews.open(bench.agent, ABOUT_MEETINGS, bench.connect())
    bench.previews.previewed = {AgentId(f"a-{number}") for number in range(MAX_PREVIEWS)}
    with pytest.raises(CodedError, check=coded(ErrorCode.BUSY), match="the most at once"):
        await bench.previews.open(bench.agent, ABOUT_MEETINGS, bench.connect())


async def test_preview_stops_at_items_per_run(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, model=PromptedModel(), limits=Limits(items_per_run=1), units_in_flight=1)
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), ABOUT_MEETINGS)
    assert found.last.added == 1 and found.last.left_out >= 1


async def test_agent_unable_to_run_has_no_preview(bench: Bench) -> None:
    with pytest.raises(DeviceOffline):
        await bench.previews.open(bench.agent, ABOUT_MEETINGS, None)
    bench.agent = await declare_agent(bench.store, at=2, paths=())
    with pytest.raises(CannotRun):
        await bench.previews.open(bench.agent, ABOUT_MEETINGS, bench.connect())


async def test_preview_reports_whether_the_model_reads_the_prompt(bench: Bench) -> None:
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), ABOUT_MEETINGS)
    assert (found.last.reads_prompt, found.last.model_requests) == (True, 4)
    bench.asking.models = bench.extractor.models = Models()
    found = await previewed(bench, bench.connect(runs=folder(**FILES)), ABOUT_MEETINGS)
    assert (found.last.reads_prompt, found.last.model_requests) == (False, 0)


async def test_estimate_of_a_preview_counts_the_newest_files_to_read(bench: Bench) -> None:
    await first_run(bench)
    link = bench.connect(runs=[[*folder(**FILES)[0][:1], folder(**FILES)[0][-1]]])
    agent = ABOUT_MEETINGS.applied_to(bench.agent)
    found = await bench.estimator.estimate(agent, link, newest=2)
    assert (found.files, found.known, found.to_read) == (4, 0, 2)


async def test_preview_of_a_mailbox_reads_the_newest_messages_and_leaves_the_cursor(store: Store) -> None:
    mailbox = Mailbox("m1", "m2")
    await declare_connector(store)
    agent = await declare_agent(store, name="mail", mailbox=MailboxConfig(connector="work", filter={}))
    clock = FakeClock()
    bench = Bench(store, agent, model=PromptedModel(), clock=clock, desk=ListDesk(mailbox, clock))
    bench.connect()
    await bench.run()
    cursor = await store.read(seen_messages.find_cursor, agent.id)
    mailbox.add("m3", "Join the meeting with Ben.")
    mailbox.add("m4", "- [ ] m4\n")
    mailbox.read.clear()
    before = await contents(bench)

    requested = msgspec.structs.replace(ABOUT_MEETINGS, newest=3)
    found = await previewed(bench, bench.connect(), requested)

    assert (mailbox.read, found.titles("added")) == (["m2", "m3", "m4"], ["Join the meeting with Ben", "m4"])
    assert (found.last.known, found.last.removed, found.last.failure) == (1, 0, None)
    assert (await store.read(seen_messages.find_cursor, agent.id), await contents(bench)) == (cursor, before)
    assert mailbox.opened == mailbox.closed


async def test_file_at_the_exact_path_is_found_after_another_spelling_of_the_path(bench: Bench) -> None:
    files = [FilePiece(path=path, content="Pay.") for path in ("~/b.md", "x/b.md", "b.md")]
    sent = [AgentData(run_id="r", files=files), AgentComplete(run_id="r")]
    link = bench.connect(runs=[sent] * 3, capabilities=())
    found = []
    for path in ("b.md", "~/b.md", "./x/b.md"):
        preview = await bench.previews.open(bench.agent, PreviewRequest(), link)
        document = await preview.find(path)
        found.append(document and document.unit_key)
    assert found == ["b.md", "~/b.md", "x/b.md"]
