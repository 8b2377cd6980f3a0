"""Requests of devices, answered by the resources of a bench."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio

from hub.accounts.connector_accounts import Accounts
from hub.accounts.sealing_keys import KeyStore
from hub.accounts.sign_in import SignIns
from hub.agents.capabilities import CapabilityRegistry as KeptCapabilities
from hub.agents.checkpoints import CheckpointService as KeptCheckpoints
from hub.agents.config_writing import ConfigWriter as KeptConfigs
from hub.agents.locks import LockService as HeldLocks
from hub.agents.measurements import MeasurementService as KeptMeasurements
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import CommonAgentSettings
from hub.api.device import Requests
from hub.api.resource import Resource, ResourceRegistry
from hub.api.resources.agent_configs import AgentConfigsResource
from hub.api.resources.agent_status import AgentStatusesResource
from hub.api.resources.agents import AgentsResource
from hub.api.resources.boards import BoardMemoriesResource, BoardsResource
from hub.api.resources.capabilities import CapabilitiesResource
from hub.api.resources.checkpoints import CheckpointsResource
from hub.api.resources.connectors import ConnectorsResource
from hub.api.resources.device_events import ConnectionsResource
from hub.api.resources.items import ItemsResource
from hub.api.resources.locks import LocksResource
from hub.api.resources.measurements import MeasurementsResource
from hub.api.resources.messages import MessagesResource
from hub.api.resources.questions import QuestionsResource
from hub.api.resources.receipts import ReceiptsResource
from hub.api.resources.runs import RunsResource
from hub.api.resources.schedules import SchedulesResource
from hub.api.resources.tokens import IdentityLimits, SessionsResource
from hub.api.wait_reasons import WaitReasons
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
from hub.runs.file_watch import FileWatch
from hub.runs.news_runs import NewsRuns
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
    hub = ResourceRegistry(bench.store, bench.clock)
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
        AgentConfigsResource(store, KeptConfigs(store, **timed)),
        AgentStatusesResource(store=store, control=bench.control, agents=agents),
        BoardMemoriesResource(BoardMemory(store, **given)),
        BoardsResource(store, owner_id=bench.agent.user_id, **given),
        CapabilitiesResource(store, KeptCapabilities(store, **timed), lines),
        CheckpointsResource(store, KeptCheckpoints(store, **timed)),
        ConnectionsResource(
            DeviceEvents(roster, **timed),
            KeyRotation(store, hub_id="h-1", **timed),
        ),
        _connectors(bench),
        ReceiptsResource(store, bench.clock, lambda: 90),
        ItemsResource(store, roster=roster, seals=bench.seals, reporting=lambda _: nullcontext(), **given),
        LocksResource(store, HeldLocks(store, **given), clock=bench.clock),
        MeasurementsResource(store, KeptMeasurements(store, **timed)),
        MessagesResource(store, _sent(bench, roster)),
        QuestionsResource(store, AskedQuestions(store, **given)),
        SessionsResource(
            store=store,
            roster=roster,
            chance=SeededChance(),
            owner_id=bench.agent.user_id,
            limits=IdentityLimits(),
            **given,
        ),
        *resources,
    )


def runs_of(bench: Bench) -> RunsResource:
    """Return the runs of the bench."""
    return RunsResource(
        store=bench.store,
        dispatcher=bench.dispatcher,
        control=bench.control,
        waiting=WaitReasons(dispatcher=bench.dispatcher, clock=bench.clock, hold=None),
        watch=bench.watch,
        clock=bench.clock,
    )


def file_watch_of(bench: Bench, extractor: Extractor | None = None) -> FileWatch:
    """Return the service that starts runs of the bench after hints; rules read its files by default."""
    extractor = extractor or Extractor(Models(), secret=bytes(32))
    news = NewsRuns(bench.store, extractor, clock=bench.clock, ids=bench.ids, on_queued=lambda: None)
    return FileWatch(bench.store, extractor, news, clock=bench.clock)


def agents_of(bench: Bench, runs: RunsResource) -> AgentsResource:
    """Return the agents of the bench."""
    return AgentsResource(
        store=bench.store,
        control=bench.control,
        files=file_watch_of(bench),
        runs=runs,
        schedules=SchedulesResource(store=bench.store, scheduler=_scheduler(bench)),
        writer=AgentWriter(bench.store, clock=bench.clock, ids=bench.ids, metrics=bench.metrics),
        rules=CommonAgentSettings,
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


def _connectors(bench: Bench) -> ConnectorsResource:
    """Return connectors without an account."""
    chance = SeededChance()
    given: dict[str, Any] = {"clock": bench.clock, "chance": chance, "ids": bench.ids}
    keys = KeyStore(Path("unused"), chance=chance, environ={})
    accounts = Accounts(bench.store, client=OutboundClient(OutboundRules()), keys=keys, owner=_BOOT, **given)
    sign_ins = SignIns(accounts, bench.store, links=lambda: (), **given)
    return ConnectorsResource(bench.store, accounts, sign_ins, clock=bench.clock)


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
    requests.enqueue(request(link, "q-1", method, **params))
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
