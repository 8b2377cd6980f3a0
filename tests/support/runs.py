"""A hub's runs over a store in memory, a device that is a list, and extractors made for the test."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from hub.agents.locks import LockService
from hub.base.clock import IdFactory
from hub.base.metrics import Metrics
from hub.base.toml.limits import Limits
from hub.extraction.extractor import Extractor
from hub.extraction.model import Batches, Finish, ModelAnswer, ModelRequest, Models, Price
from hub.extraction.rules_process import RulesClient, RulesHere
from hub.links.device_link import DeviceLink, RunFrame
from hub.runs.asking import Asking
from hub.runs.budget import Budgets
from hub.runs.control import RunControl
from hub.runs.delivery import ExcerptSeals, ItemDelivery
from hub.runs.dispatcher import Dispatcher
from hub.runs.estimates import Estimator
from hub.runs.interrupt import Interrupt
from hub.runs.lifecycle import RunTransitions, RunWatch
from hub.runs.mailbox_visit import ConnectorOpener, MailboxVisits
from hub.runs.previewing import Previews
from hub.runs.rows_read_back import OwnRows
from hub.runs.run_order import RunOrder, order_of
from hub.runs.runner import Runner
from hub.runs.sources import DeviceSource
from hub.text.rows.own_rows import without_own_rows
from protocol.ids import BootId, DeviceId, RunId, UserId
from protocol.lifecycles import RunState, UnitState
from protocol.tool_calls import Answer
from protocol.work import AgentComplete, AgentData, AgentManifest, FilePiece, ManifestFile, RunLimits, Usage
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.devices import users
from storage.runs import run_claims, run_moves, runs, units, waiting_runs
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.runs.units import UnitRow
from storage.store import Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.excerpts import excerpt_seals
from tests.support.link import FakeLink
from tests.support.presence import appear

MODERN = ("agent_manifest", "agent_data.credit", "agent_ack", "tool.insert", "tool.update")
PAGED = (*MODERN, "agent_manifest.pages")
BOOT = BootId("boot-1")
TAKEN = Answer(result={"id": "row"})


class KeywordModel:
    """A ``LanguageModel`` that finds nothing, and raises what a word in the text stands for.

    Without *answers_control*, it is away with the first of these errors.
    """

    name, chunk_tokens, in_flight, is_literal, price = "keyword", 1_500, 4, False, Price()

    def __init__(self) -> None:
        self.asked = self.reached = 0
        self.requests: list[ModelRequest] = []
        self.finish = Finish.WHOLE
        self.said = '{"items": []}'
        self.usage = Usage(1, 10, 2)
        self.errors: dict[str, Exception] = {}
        self.answers_control = False
        self.on_ask: Callable[[], None] = lambda: None
        self.may_answer = anyio.Event()
        self.may_answer.set()

    async def reach(self) -> str | None:
        self.reached += 1
        return str(next(iter(self.errors.values()))) if self.errors else None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        if request.is_control:
            if self.errors and not self.answers_control:
                raise next(iter(self.errors.values()))
            return ModelAnswer(text=self.said, finish=self.finish, usage=Usage())
        self.asked += 1
        self.requests.append(request)
        self.on_ask()
        await self.may_answer.wait()
        said = request.messages[-1].content
        for word, error in self.errors.items():
            if word in said:
                raise error
        return ModelAnswer(text=self.said, finish=self.finish, usage=self.usage)


def digest(letter: str) -> str:
    """A SHA-256 to look at."""
    return letter * (64 // len(letter))


def folder(**files: str) -> list[list[RunFrame | Exception]]:
    """What a modern device sends of a folder: ``a="text"`` is the file ``a.md``."""
    manifest = [
        ManifestFile(path=f"{name}.md", size_bytes=len(text), sha256=digest(name))
        for name, text in files.items()
    ]
    pieces = [FilePiece(path=f"{name}.md", content=text, sha256=digest(name)) for name, text in files.items()]
    return [
        [
            AgentManifest(run_id="r", files=manifest),
            *(AgentData(run_id="r", files=[piece]) for piece in pieces),
            AgentComplete(run_id="r"),
        ]
    ]


class Links(dict[DeviceId, DeviceLink]):
    """Connected devices by id; the dispatcher learns of each change."""

    dispatcher: Dispatcher

    def __setitem__(self, device_id: DeviceId, link: DeviceLink) -> None:
        super().__setitem__(device_id, link)
        self.dispatcher.device_ready(link)

    def __delitem__(self, device_id: DeviceId) -> None:
        self.dispatcher.device_lost(device_id, self[device_id].epoch)
        super().__delitem__(device_id)

    def clear(self) -> None:
        for device_id in list(self):
            del self[device_id]


@dataclass
class Bench:
    """Everything of a hub that runs need, wired as the daemon does it."""

    store: Store
    agent: AgentRow
    clock: FakeClock = field(default_factory=FakeClock)
    model: KeywordModel = field(default_factory=KeywordModel)
    links: "Links" = field(default_factory=lambda: Links())
    device_grace_s: float = 0.0
    limits: Limits = field(default_factory=Limits)
    run_limits: RunLimits = field(default_factory=RunLimits)
    max_sends: int = 5
    units_in_flight: int = 8
    stopped: str | None = None
    batches: Batches | None = None
    rules: RulesClient = field(default_factory=RulesHere)
    desk: ConnectorOpener | None = None
    seals: ExcerptSeals = field(default_factory=excerpt_seals)
    looked: int = 0
    trusted: Collection[str] = ()  # senders of mails

    def __post_init__(self) -> None:
        chance = SeededChance()
        models = Models(self.model, self.model, self.batches, self.batches)
        self.extractor = extractor = Extractor(models, secret=bytes(32), rules=self.rules)
        self.ids = IdFactory(self.clock, chance)
        self.watch = RunWatch()
        self.metrics = Metrics()
        self.lifecycle = RunTransitions(
            self.store, clock=self.clock, ids=self.ids, metrics=self.metrics, watch=self.watch
        )
        self.budgets = Budgets(self.store, boot_id=BOOT, clock=self.clock, metrics=self.metrics)
        self.asking = Asking(
            self.store,
            models=models,
            budgets=self.budgets,
            clock=self.clock,
            ids=self.ids,
            metrics=self.metrics,
        )
        self.delivery = ItemDelivery(
            self.store,
            clock=self.clock,
            metrics=self.metrics,
            limits=self.limits,
            seals=self.seals,
            max_sends=self.max_sends,
        )
        source = DeviceSource(limits=self.run_limits, credit=16, metrics=self.metrics, clock=self.clock)
        self.mailboxes = (
            None
            if self.desk is None
            else MailboxVisits(
                self.store, self.desk, clock=self.clock, chance=chance, ids=self.ids, trusted=self.trusted
            )
        )
        own_rows = OwnRows(self.store, self.clock, without_own_rows)
        self.runner = Runner(
            store=self.store,
            lifecycle=self.lifecycle,
            source=source,
            extractor=extractor,
            asking=self.asking,
            delivery=self.delivery,
            find_link=self.links.get,
            watch=self.watch,
            own_rows=own_rows,
            clock=self.clock,
            chance=chance,
            ids=self.ids,
            metrics=self.metrics,
            mailboxes=self.mailboxes,
            units_in_flight=self.units_in_flight,
            device_grace_s=self.device_grace_s,
        )
        self.estimator = Estimator(
            self.store,
            extractor=extractor,
            models=models,
            budgets=self.budgets,
            clock=self.clock,
            ids=self.ids,
            limits=self.run_limits,
        )
        self.locks = LockService(self.store, clock=self.clock, ids=self.ids, metrics=self.metrics)
        self.previews = Previews(
            self.store,
            source=source,
            extractor=extractor,
            asking=self.asking,
            locks=self.locks,
            mailboxes=self.mailboxes,
            own_rows=own_rows,
            clock=self.clock,
            ids=self.ids,
            limits=self.limits,
        )
        self.dispatcher = Dispatcher(
            store=self.store,
            lifecycle=self.lifecycle,
            runner=self.runner,
            clock=self.clock,
            chance=chance,
            metrics=self.metrics,
            boot_id=BOOT,
            limits=self.limits,
            why_stopped=self._look,
            is_model_back=self.asking.gates.let_through,
        )
        self.links.dispatcher = self.dispatcher
        self.control = RunControl(
            store=self.store,
            lifecycle=self.lifecycle,
            dispatcher=self.dispatcher,
            extractor=extractor,
            clock=self.clock,
            ids=self.ids,
            boot_id=BOOT,
            metrics=self.metrics,
            run_timeout_s=self.limits.run_wall_s,
        )

    @property
    def now_ms(self) -> int:
        """The time."""
        return int(self.clock.now().timestamp() * 1000)

    async def looks(self) -> None:
        """Wait until the dispatcher has looked twice: what the first look led to is done by then."""
        for _ in range(2):
            before = self.looked
            with anyio.fail_after(10):
                while self.looked == before:
                    self.dispatcher.recheck()
                    await anyio.lowlevel.checkpoint()

    def _look(self) -> str | None:
        self.looked += 1
        return self.stopped

    def connect(self, **options: object) -> FakeLink:
        """A modern device that takes everything, unless *options* say otherwise."""
        given: dict[str, object] = {
            "user_id": self.agent.user_id,
            "capabilities": MODERN,
            "answers": lambda call: TAKEN,
        } | options
        link = FakeLink(self.agent.device_id or "desk", **given)  # type: ignore[arg-type]
        self.links[link.device_id] = link
        return link

    async def claim(self) -> RunOrder:
        """The next run, claimed."""
        there = frozenset(self.links)
        await self.store.write(appear, there, BOOT)
        claimed = await self.store.write(
            run_claims.claim_runs,
            boot_id=BOOT,
            gates=Gates(online=there),
            lease_ms=30_000,
            at=int(self.clock.now().timestamp() * 1000),
            most=1,
        )
        assert claimed, "nothing can be claimed"
        executed_ms = await self.store.read(run_moves.executed_ms, claimed[0].id)
        return order_of(claimed[0], executed_ms=executed_ms)

    async def run(self, interrupt: Interrupt | None = None) -> RunRow:
        """Queue a run, or take the one that waits, and execute it to the end of this attempt."""
        await self.probe_models()
        if not await self.store.read(runs.list_runs, states=[RunState.QUEUED]):
            await self.store.write(appear, frozenset(self.links), BOOT)
            await self.control.submit(self.agent)
        order = await self.claim()
        await self.runner.run(order, interrupt or Interrupt())
        return await self.row(order.run_id)

    async def probe_models(self) -> None:
        """Let runs that wait for a model go on, if it is time for a probe and it gets an answer."""
        if await self.store.read(waiting_runs.awaiting_model):
            await self.dispatcher.open_gates()
            await self.asking.gates.probe()
            await self.dispatcher.open_gates()

    async def settled(self, path: str) -> None:
        """Wait until a file of the newest run is DONE."""
        with anyio.fail_after(10):
            while True:
                newest = await self.store.read(runs.list_runs, limit=1)
                units = await self.units(newest[0].id) if newest else {}
                if path in units and units[path].state is UnitState.DONE:
                    return

    async def comes_to(self, state: RunState) -> None:
        """Wait until the run made last is in *state*."""
        with anyio.fail_after(10):
            while (await self.store.read(runs.list_runs, limit=1))[0].state is not state:
                await anyio.lowlevel.checkpoint()

    async def row(self, run_id: RunId) -> RunRow:
        """A run as it stands."""
        return await self.store.read(runs.get_run, run_id)

    async def units(self, run_id: RunId) -> dict[str, UnitRow]:
        """Its units."""
        return {unit.unit_key: unit for unit in await self.store.read(units.units_of, run_id)}


def titles(link: FakeLink) -> Sequence[object]:
    """What was inserted, in the order of the calls."""
    return [call.data["title"] for call in link.calls]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as opened:
        yield opened


async def declare_agent(store: Store, *, at: int = 1, fresh_ids: str = "abcd", **fields: Any) -> AgentRow:
    """Declare the only agent of hub.toml, by default one that reads notes of a device called desk."""
    user_id = await store.write(users.ensure_user, UserId("u"), "owner", 1)
    by_default = {"name": "notes", "device_name": "desk", "data_types": ("tasks",), "prompt": "Find tasks."}
    if "mailbox" not in fields:
        by_default["paths"] = ("notes",)
    declared = DeclaredAgent(**{**by_default, **fields})
    await store.write(
        declared_agents.reconcile_declared,
        user_id=user_id,
        declared=[declared],
        at=at,
        fresh_ids=list(fresh_ids),
    )
    found = await store.read(agents.find_agent_by_name, declared.name)
    assert found is not None
    if found.device_id is not None:
        await store.write(appear, [found.device_id], BOOT)
    return found


async def declare_connector(store: Store, name: str = "work", provider: str = "listed") -> None:
    """Declare the only connector of hub.toml."""
    await store.write(users.ensure_user, UserId("u"), "owner", 1)
    declared = DeclaredConnector(name=name, user_name="owner", provider=provider, origin="me")
    await store.write(
        connectors.reconcile_connectors, declared=[declared], at=1, fresh_ids=[f"{name}-id", "no-user"]
    )


@pytest.fixture
async def agent(store: Store) -> AgentRow:
    """An agent for a device called desk."""
    return await declare_agent(store)


@pytest.fixture
async def bench(store: Store, agent: AgentRow) -> Bench:
    return Bench(store, agent)
