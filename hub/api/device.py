"""Requests of devices: rate limit, overload, largest answer, and the methods of resources that answer.

Parameters that only these methods have are declared here. The parameters of a request are bound as
``binding`` binds those of a REST request, by their names; unknown ones are ignored. In a resource of
``/v1/agents/{name}``, *name* is the agent that ``agent_id`` names, and any agent has to work on the device. A
method sees the objects of the device's user.

Service that answers the requests of devices by the resources of the hub.

A device sees and changes only its own agents and runs. A method that no resource declares is answered with
``unknown_method``. A device may ask for ``BURST_S`` at once; beyond its rate, or with too many requests that
wait, it is refused.

Requests are answered one after the other: first in, first out for each device, and the devices take turns.
So a busy device delays the others only little. A ``DeferredResponse`` is awaited concurrently; its method
limits the number of such responses.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus
from msgspec import Meta, structs

from hub.api import resource
from hub.api.binding import MISSING, Binding, From, RequestContext, RequestParameter, bad_request
from hub.api.errors import Refusal, refusals
from hub.api.resource import (
    ALL,
    DeviceRequest,
    Endpoint,
    ListPage,
    ListPart,
    PageRequest,
    Resource,
    ResourceRegistry,
    audit_of,
)
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.loop_meter import LoopAccount, charged
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.base.roles import Principal
from hub.base.token_buckets import Buckets
from hub.base.toml.limits import DEFAULTS, Limits
from hub.coordination.board_access import Caller
from hub.links.device_link import DeviceLink
from hub.links.roster import RequestReceived
from protocol.coordination import Request, Response
from protocol.errors import CATALOGUE, CodedError, DeliveryError, ErrorCode, HubError, LocalProtocolError
from protocol.frame import ErrorBody, Parameters
from protocol.ids import DeviceId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.devices import devices
from storage.kernel.columns import Key
from storage.kernel.database import written_for
from storage.store import Connection, Store

log = Channel(__name__)

OBJECTS: Final = ("agent_id", "board", "message_id", "question_id", "run_id")  # named in audit entries
ITEMS: Final = 50  # of a list in one answer, where the request has no limit
ANSWER_BYTES: Final = 256 * 1024  # of the items in one answer; a frame has room for four times as many

AgentIdOrName = Annotated[str, Meta(min_length=1)]


class DeferredResponse(NamedTuple):
    """Result that is awaited in the background, while other requests are answered."""

    answer: Callable[[], Awaitable[Parameters]]


class DeviceRequestContext(RequestContext):
    """A request of a device that is being answered.

    Args:
        names: names of parameters, where those of the request differ from those of the method.
    """

    is_strict = True

    def __init__(self, link: DeviceLink, params: Parameters, store: Store, names: Mapping[str, str]) -> None:
        principal = Principal.of_device(link.device_id, user_id=link.user_id)
        super().__init__({"headers": [], "query_string": b""}, {}, b"", caller=principal)
        self.link = link
        self.store = store
        self._params = params
        self._names = names

    def given(self, value: RequestParameter) -> Any:
        """Return the parameter of the request; a struct has those that are its fields."""
        if value.place != "body":
            return self._params.get(self._spelled(value), MISSING)
        if value.struct is None:
            return self._params
        names = [*(field.encode_name for field in structs.fields(value.struct)), *value.aliases]
        return {name: self._params[name] for name in names if name in self._params}

    def where(self, value: RequestParameter) -> str:
        """Return the name of the parameter; empty for all parameters."""
        return "" if value.place == "body" else self._spelled(value)

    def _spelled(self, value: RequestParameter) -> str:
        return self._names.get(value.name, value.name.replace("-", "_"))


class DeviceRequestHandler:
    """A request of devices, as a method of a resource of this hub answers it."""

    def __init__(
        self,
        hub: ResourceRegistry,
        store: Store,
        resource: type[Resource],
        declared: DeviceRequest,
        method: Endpoint,
    ) -> None:
        self._hub, self._store = hub, store
        self._resource, self._declared, self._method = resource, declared, method

    @cached_property
    def _binding(self) -> Binding:
        instead: dict[Any, Callable[..., Any]] = {
            Caller: _caller,
            ListPart: partial(_same, ALL),
            resource.page: _page,
        }
        if "{name}" in self._resource.path:
            instead["name"] = _agent_name
        for name, value in self._declared.arguments.items():
            instead[name] = value if callable(value) else partial(_same, value)
        return Binding(self._method, instead=instead)

    async def answer(self, link: DeviceLink, params: Parameters) -> Parameters | DeferredResponse:
        """Return the result of a request. Raises HubError."""
        declared = self._declared
        if declared.grant is not None:
            await self._store.read(devices.require_grant, link.device_id, declared.grant)
        call = DeviceRequestContext(link, params, self._store, declared.names)
        arguments = await self._binding.arguments(call)
        resource = self._hub.resource(self._resource, link.user_id)
        objects = {name: given for name in OBJECTS if isinstance(given := params.get(name), str)}
        traced = partial(self._hub.traced, audit_of(self._method), call, objects)
        result = await traced(getattr(resource, self._method.__name__)(**arguments))
        if isinstance(result, DeferredResponse):
            return DeferredResponse(lambda: traced(result.answer()))
        answer: Parameters = msgspec.to_builtins(declared.answer(result))
        return answer


def requests_of(hub: ResourceRegistry, store: Store) -> dict[str, DeviceRequestHandler]:
    """Return the requests of devices that the resources of a hub answer, by method."""
    return {
        declared.method: DeviceRequestHandler(hub, store, resource, declared, method)
        for resource in hub.resources
        for declared, method in resource.requests()
    }


def object_of(*columns: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that makes an object out of the attributes of a row or a view.

    A column is ``attribute``, or ``attribute as key``; ``a.b`` is the attribute of an attribute that may be
    None. A point in time becomes epoch milliseconds.
    """
    parts = [column.partition(" as ") for column in columns]
    return lambda of: {key or path: _plain(of, path) for path, _, key in parts}


def _plain(of: Any, path: str) -> Any:
    for name in path.split("."):
        of = None if of is None else getattr(of, name)
    return epoch_ms(of) if isinstance(of, datetime) else of


def _own_agent(c: Connection, link: DeviceLink, given: str) -> AgentRow:
    """Return the agent of that id or name, if it works on this device.

    Raises:
        CodedError (UNKNOWN_AGENT): the device has no such agent.
    """
    found = agents.find_agent_on(c, given, device_id=link.device_id)
    if found is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"this device has no agent {given!r}")
    return found


def converted(given: Any, kind: Any, where: str) -> Any:
    """Convert a part of a request whose type depends on another part. Raises CodedError."""
    wrong: list[Refusal] = list(refusals(given, kind, where))
    if wrong:
        raise bad_request([message for message, _ in wrong], [hint for _, hint in wrong if hint])
    return msgspec.convert(given, kind)


class FittingPage(PageRequest):
    """The requested part of a list, of which as many items are answered as fit into a frame."""

    def fetched(
        self, items: Sequence[Any], *, key: Callable[[Any], Key], rest: Key | None = None
    ) -> ListPage[Any]:
        """Return the page out of the ``limit + 1`` items after ``after``, or fewer."""
        self.limit = min(self.limit, fitting(items))
        return super().fetched(items, key=key, rest=rest)


def fitting(items: Sequence[Any]) -> int:
    """Return how many of the first items fit into a frame, at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(msgspec.json.encode(item))
        if count and size > ANSWER_BYTES:
            return count
    return len(items)


async def _agent(call: RequestContext, agent_id: AgentIdOrName) -> AgentRow:
    assert isinstance(call, DeviceRequestContext)
    return await call.store.read(_own_agent, call.link, agent_id)


Link = Annotated[DeviceLink, From(attrgetter("link"))]
OwnAgent = Annotated[AgentRow, From(_agent)]  # that the parameter ``agent_id`` names


async def _agents(call: RequestContext, agent_id: AgentIdOrName | None = None) -> Sequence[AgentRow]:
    if agent_id is not None:
        return [await _agent(call, agent_id)]
    assert isinstance(call, DeviceRequestContext)
    return await call.store.read(agents.list_agents, device_id=call.link.device_id)


OwnAgents = Annotated[Sequence[AgentRow], From(_agents)]  # that ``agent_id`` names; without it, all


def _agent_name(agent: OwnAgent) -> str:
    return agent.name


def person(call: RequestContext) -> Caller:
    """Return the person at the device as the caller."""
    principal: Principal = call.caller
    return Caller(principal.actor, principal.user_id)


async def _caller(call: RequestContext, agent_id: AgentIdOrName | None = None) -> Caller:
    """Return the person at the device as the caller, or one of its agents."""
    caller = person(call)
    if agent_id is None:
        return caller
    agent = await _agent(call, agent_id)
    return Caller(caller.actor, agent.user_id, agent.id)


def _page(
    limit: Annotated[int, Meta(ge=1, le=resource.MAX_LONG)] = ITEMS, cursor: str | None = None
) -> PageRequest:
    return FittingPage(limit=limit, cursor=cursor)


def _same(value: Any) -> Any:
    return value


MESSAGE_CHARACTERS: Final = 2_000  # of a refusal, which may quote what was sent; a frame holds twice that
BURST_S: Final = 4.0  # a desktop that opens asks for everything it shows
WAITING: Final = 16  # of one device; its session takes no more than 64 that are open
WAITING_REFUSALS: Final = 1_024  # of all devices, while one is answered; who asks beyond it is not answered


class RequestQueue:
    """Fair queue of requests: other devices wait for at most one request of a busy device."""

    def __init__(self) -> None:
        self.most = WAITING  # of one device
        self._waiting: OrderedDict[DeviceId, deque[RequestReceived]] = OrderedDict()  # the next in turn first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def enqueue(self, event: RequestReceived) -> bool:
        """Add a request. Return False, without adding it, if the device has reached its limit."""
        mine = self._waiting.setdefault(event.link.device_id, deque())
        if len(mine) >= self.most:
            return False
        mine.append(event)
        return True

    def dequeue(self) -> RequestReceived:
        """Remove and return the next request; the devices take turns.

        Raises:
            KeyError: the queue is empty.
        """
        device_id, mine = self._waiting.popitem(last=False)
        event = mine.popleft()
        if mine:
            self._waiting[device_id] = mine
        return event


class Requests:
    """Service that answers the requests of devices."""

    def __init__(self, resources: ResourceRegistry, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self.loop = LoopReports(clock)
        self._clock = clock
        self._paces: Buckets[DeviceId] = Buckets()
        self._per_s = DEFAULTS.requests_per_s
        self._limits_reached = metrics.limits_reached
        self._loop = metrics.loop
        self._methods = requests_of(resources, store)
        self._waiting = RequestQueue()
        self._overloaded: deque[tuple[DeviceLink, Response]] = deque()
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        """Return the number of queued requests."""
        return len(self._waiting)

    def apply(self, limits: Limits) -> None:
        """Apply new limits."""
        self._per_s = limits.requests_per_s

    def enqueue(self, event: RequestReceived) -> None:
        """Queue a request, or its refusal if its device exceeds a limit. Returns at once."""
        wait_s = self._paces.acquire(
            event.link.device_id,
            self._clock.monotonic(),
            at_once=math.ceil(BURST_S * self._per_s),
            per_s=self._per_s,
        )
        if wait_s:
            message = f"this device asks more than {self._per_s:g} requests a second (requests_per_s)"
            self._refuse(event, "requests_per_s", ErrorCode.RATE_LIMITED, message, wait_s)
        elif not self._waiting.enqueue(event):
            message = f"{self._waiting.most} requests of this device wait for their answer (waiting_requests)"
            self._refuse(event, "waiting_requests", ErrorCode.OVERLOADED, message)
        self._arrived.set()

    def _refuse(
        self, event: RequestReceived, limit: str, code: ErrorCode, message: str, wait_s: float | None = None
    ) -> None:
        """Queue a refusal, unless ``WAITING_REFUSALS`` are queued: the database may be away for long."""
        self._limits_reached.labels(limit).inc()
        if len(self._overloaded) < WAITING_REFUSALS:
            self._overloaded.append((event.link, _refusal(event.frame, code, message, wait_s)))

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer requests until cancelled."""
        async with anyio.create_task_group() as later:
            task_status.started()
            while True:
                self.loop.wait()
                await self._arrived.wait()
                self._arrived = anyio.Event()
                while self._waiting or self._overloaded:
                    self.loop.work()
                    if self._waiting:
                        await self._answer_next(later)
                    for _ in range(len(self._overloaded)):
                        await _send(*self._overloaded.popleft())

    async def _answer_next(self, later: TaskGroup) -> None:
        event = self._waiting.dequeue()
        link, request = event.link, event.frame
        method = self._methods.get(request.method)
        if method is None:
            message = f"{request.method!r} is not served by this hub"
            await _send(link, _refusal(request, ErrorCode.UNKNOWN_METHOD, message))
            return
        cause = f"device:{link.device_id}"
        with written_for(cause):
            answering = _answer(link, request, partial(method.answer, link, request.params))
            answer = await charged(LoopAccount(self._loop, cause), answering)
            if isinstance(answer, DeferredResponse):
                later.start_soon(self._answer_later, cause, link, request, answer)

    async def _answer_later(
        self, cause: str, link: DeviceLink, request: Request, later: DeferredResponse
    ) -> None:
        answering = _answer(link, request, later.answer)
        await charged(LoopAccount(self._loop, cause), answering)


async def _answer(
    link: DeviceLink, request: Request, answer: Callable[[], Awaitable[Parameters | DeferredResponse]]
) -> DeferredResponse | None:
    """Send the response to a request; return an answer that comes later."""
    response = await _answered(request, answer)
    if isinstance(response, DeferredResponse):
        return response
    await _send(link, response)
    return None


async def _answered(
    request: Request, answer: Callable[[], Awaitable[Parameters | DeferredResponse]]
) -> Response | DeferredResponse:
    """Return the response to a request; an error becomes a refusal."""
    try:
        result = await answer()
    except HubError as exc:
        hint = getattr(exc, "hint", "")
        return _refusal(request, exc.code, str(exc), getattr(exc, "retry_after_s", None), hint=hint)
    except Exception as exc:  # the loop that must survive
        log.error("request.failed", exc=exc, method=request.method)
        return _refusal(request, ErrorCode.INTERNAL, "the hub failed at this request")
    return result if isinstance(result, DeferredResponse) else Response(id=request.id, result=result)


async def _send(link: DeviceLink, response: Response) -> None:
    try:
        await link.send(response)
    except DeliveryError as exc:
        log.info("request.unanswered", code=exc.code, device_id=link.device_id)
    except LocalProtocolError as exc:  # longer than a message may be
        log.warning("request.unanswerable", why=str(exc), device_id=link.device_id)
        if response.error is None:
            code = ErrorCode.RESULT_TOO_LARGE
            body = ErrorBody(code=code, message=str(exc)[:MESSAGE_CHARACTERS], hint=CATALOGUE[code].hint)
            await _send(link, Response(id=response.id, error=body))


def _refusal(
    request: Request, code: ErrorCode, message: str, retry_after_s: float | None = None, *, hint: str = ""
) -> Response:
    info = CATALOGUE[code]
    body = ErrorBody(
        code=code,
        message=message[:MESSAGE_CHARACTERS],
        retryable=info.retryable,
        retry_after_ms=None if retry_after_s is None else math.ceil(retry_after_s * 1000),
        hint=hint[:MESSAGE_CHARACTERS] or info.hint,
    )
    return Response(id=request.id, error=body)
