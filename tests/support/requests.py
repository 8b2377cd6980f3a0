"""Requests of devices, answered by the resources of a bench."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio

from hub.accounts.connector_accounts import Accounts
from hub.accounts.keys import KeyStore
from hub.accounts.sign_in import SignIns
from hub.agents.capabilities import CapabilityRegistry as KeptCapabilities
from hub.agents.checkpoints import CheckpointService as KeptCheckpoints
from hub.agents.config_writing import ConfigWriter as KeptConfigs
from hub.agents.locks import LockService as HeldLocks
from hub.agents.measurements import MeasurementService as KeptMeasurements
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import Rules
from hub.api.device import Requests
from hub.api.resource import Hub, Resource
from hub.api.resources.agent_configs import AgentConfigs, Capabilities, Checkpoints
from hub.api.resources.agent_status import AgentStatuses
from hub.api.resources.agents import Agents
from hub.api.resources.boards import BoardMemories, Boards
from hub.api.resources.connectors import Connectors
from hub.api.resources.devices import Connections, Receipts
from hub.api.resources.items import Items
from hub.api.resources.locks import Locks
from hub.api.resources.measurements import Measurements
from hub.api.resources.messages import Messages
from hub.api.resources.questions import Questions
from hub.api.resources.runs import Runs
from hub.api.resources.schedules import Schedules
from hub.api.resources.tokens import IdentityLimits, Sessions
from hub.api.waiting import Waiting
from hub.base.metrics import Metrics
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.messages import MessageService as SentMessages
from hub.coordination.questions import BoardMemory
from hub.coordination.questions import QuestionService as AskedQuestions
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.links.device_events import DeviceEvents
from hub.links.key_rotation import KeyRotation
from hub.links.roster import RequestReceived, Roster
from hub.openclaw import Fleet
from hub.runs.scheduler import Scheduler
from hub.settings.reading import FileLines, ParsedSettings
from protocol.coordination import Request, Response
from protocol.frame import ErrorBody, Parameter
from protocol.ids import BootId
from tests.support.clock import SeededChance
from tests.support.link import FakeLink
from tests.support.runs import Bench
from tests.support.wire import until

_BOOT = BootId("boot")


def requests_over(bench: Bench, *resources: Resource) -> Requests:
    """Return the service over these resources."""
    hub = Hub(bench.store, bench.clock)
    hub.add(*resources)
    return Requests(hub, bench.store, clock=bench.clock, metrics=bench.metrics)


def make_requests(bench: Bench, *resources: Resource) -> Requests:
    """Return the service over all resources that devices may ask.

    Args:
        resources: used in place of those of the bench.
    """
    store, lines = bench.store, FileLines(lambda: ParsedSettings(None, []))
    timed: dict[str, Any] = {"clock": bench.clock, "metrics": bench.metrics}
    given: dict[str, Any] = timed | {"ids": bench.ids}
    roster = Roster(lambda _: None, metrics=Metrics())
    runs = runs_of(bench)
    agents = agents_of(bench, runs)
    return requests_over(
        bench,
        agents,
        runs,
        AgentConfigs(store, KeptConfigs(store, **timed)),
        AgentStatuses(store=store, control=bench.control, agents=agents),
        BoardMemories(BoardMemory(store, **given)),
        Boards(store, owner_id=bench.agent.user_id, **given),
        Capabilities(store, KeptCapabilities(store, **timed), lines),
        Checkpoints(store, KeptCheckpoints(store, **timed)),
        Connections(
            DeviceEvents(roster, **timed),
            KeyRotation(store, hub_id="h-1", **timed),
        ),
        _connectors(bench),
        Receipts(store, bench.clock, lambda: 90),
        Items(store, roster=roster, seals=bench.seals, reporting=lambda _: nullcontext(), **given),
        Locks(store, HeldLocks(store, **given), clock=bench.clock),
        Measurements(store, KeptMeasurements(store, **timed)),
        Messages(store, _sent(bench, roster)),
        Questions(store, AskedQuestions(store, **given)),
        Sessions(
            store=store,
            roster=roster,
            chance=SeededChance(),
            owner_id=bench.agent.user_id,
            limits=IdentityLimits(),
            **given,
        ),
        *resources,
    )


def runs_of(bench: Bench) -> Runs:
    """Return the runs of the bench."""
    return Runs(
        store=bench.store,
        dispatcher=bench.dispatcher,
        control=bench.control,
        waiting=Waiting(dispatcher=bench.dispatcher, clock=bench.clock, hold=None),
        watch=bench.watch,
        clock=bench.clock,
    )


def agents_of(bench: Bench, runs: Runs) -> Agents:
    """Return the agents of the bench."""
    return Agents(
        store=bench.store,
        control=bench.control,
        runs=runs,
        schedules=Schedules(store=bench.store, scheduler=_scheduler(bench)),
        writer=AgentWriter(bench.store, clock=bench.clock, ids=bench.ids, metrics=bench.metrics),
        rules=Rules,
        lines=FileLines(lambda: ParsedSettings(None, [])),
    )


def _scheduler(bench: Bench) -> Scheduler:
    return Scheduler(
        store=bench.store,
        extractor=Extractor(Models(), secret=bytes(32)),
        clock=bench.clock,
        ids=bench.ids,
        metrics=bench.metrics,
        boot_id=_BOOT,
        on_queued=lambda: None,
        on_cancel=lambda run_id: None,
    )


def _connectors(bench: Bench) -> Connectors:
    """Return connectors without an account."""
    chance = SeededChance()
    given: dict[str, Any] = {"clock": bench.clock, "chance": chance, "ids": bench.ids}
    keys = KeyStore(Path("unused"), chance=chance, environ={})
    accounts = Accounts(bench.store, client=OutboundClient(OutboundRules()), keys=keys, owner=_BOOT, **given)
    sign_ins = SignIns(accounts, bench.store, links=lambda: (), **given)
    return Connectors(bench.store, accounts, sign_ins, clock=bench.clock)


def _sent(bench: Bench, roster: Roster) -> SentMessages:
    """Return messages that are stored; no courier delivers them."""
    given: dict[str, Any] = {"clock": bench.clock, "ids": bench.ids, "metrics": bench.metrics}
    fleet = Fleet(
        folder=Path(),
        rules=OutboundRules,
        clock=bench.clock,
        chance=SeededChance(),
        metrics=Metrics(),
        version="0",
    )
    courier = MessageDeliveryService(
        bench.store, fleet=fleet, links=roster, chance=SeededChance(), boot_id=_BOOT, **given
    )
    return SentMessages(bench.store, courier, **given)


@asynccontextmanager
async def serving(requests: Requests) -> AsyncIterator[None]:
    """Answer requests during the block."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(requests.serve)
        yield
        tasks.cancel_scope.cancel()


def request(link: FakeLink, id: str, method: str = "agents.list", **params: Parameter) -> RequestReceived:
    """Return a request as the roster reports it."""
    return RequestReceived(link, Request(id=id, method=method, params=dict(params)))


async def ask(
    bench: Bench,
    method: str,
    link: FakeLink | None = None,
    resources: Iterable[Resource] = (),
    /,
    **params: Parameter,
) -> Response:
    """Return the answer to a request of *link*, or of the device of the bench's agent.

    Args:
        resources: used in place of those of the bench.
    """
    link = link or bench.connect()
    requests = make_requests(bench, *resources)
    requests.take(request(link, "q-1", method, **params))
    async with serving(requests):
        await until(lambda: bool(link.sent))
    (response,) = link.sent
    assert isinstance(response, Response) and response.id == "q-1"
    return response


async def result(bench: Bench, method: str, **params: Any) -> Any:
    """Return the result of a request that is not refused."""
    response = await ask(bench, method, **params)
    assert response.error is None, response.error
    return response.result


async def refused(bench: Bench, method: str, link: FakeLink | None = None, /, **params: Any) -> ErrorBody:
    """Return the error of a request that is refused."""
    response = await ask(bench, method, link, **params)
    assert response.error is not None
    return response.error
