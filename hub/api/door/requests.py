"""Service that answers the requests of devices by the nouns of the hub.

A device sees and changes only its own agents and runs. A method that no noun declares is answered with
``unknown_method``.

Requests are answered one after the other: first in, first out for each device, and the devices take turns.
So a busy device delays the others only little. A ``Later`` response is awaited concurrently; its method
limits the number of such responses.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.api.device import Later, requests_of
from hub.api.noun import Hub
from hub.clock import Clock
from hub.links.gate import Buckets
from hub.links.roster import DeviceLink, RequestReceived
from hub.log import Channel
from hub.loop_meter import charged
from hub.metrics import Metrics
from hub.rounds import Turns
from hub.settings.limit_settings import DEFAULTS, Limits
from protocol.coordination import Request, Response
from protocol.errors import CATALOGUE, DeliveryError, ErrorCode, HubError, LocalProtocolError
from protocol.frame import ErrorBody, Parameters
from protocol.ids import DeviceId
from storage.kernel.database import written_for
from storage.store import Store

log = Channel(__name__)

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

    def put(self, event: RequestReceived) -> bool:
        """Add a request. Return False, without adding it, if the device has reached its limit."""
        mine = self._waiting.setdefault(event.link.device_id, deque())
        if len(mine) >= self.most:
            return False
        mine.append(event)
        return True

    def take(self) -> RequestReceived:
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

    def __init__(self, nouns: Hub, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._paces: Buckets[DeviceId] = Buckets()
        self._per_s = DEFAULTS.requests_per_s
        self._limits_reached = metrics.limits_reached
        self._loop = metrics.loop
        self._methods = requests_of(nouns, store)
        self._waiting = RequestQueue()
        self._overloaded: deque[tuple[DeviceLink, Response]] = deque()
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        """Return the number of queued requests."""
        return len(self._waiting)

    def apply(self, limits: Limits) -> None:
        """Apply new limits."""
        self._per_s = limits.requests_per_s

    def take(self, event: RequestReceived) -> None:
        """Queue a request, or its refusal if its device exceeds a limit. Returns at once."""
        wait_s = self._paces.take(
            event.link.device_id,
            self._clock.monotonic(),
            at_once=math.ceil(BURST_S * self._per_s),
            per_s=self._per_s,
        )
        if wait_s:
            message = f"this device asks more than {self._per_s:g} requests a second (requests_per_s)"
            self._refuse(event, "requests_per_s", ErrorCode.RATE_LIMITED, message, wait_s)
        elif not self._waiting.put(event):
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
                self.turns.wait()
                await self._arrived.wait()
                self._arrived = anyio.Event()
                while self._waiting or self._overloaded:
                    self.turns.work()
                    if self._waiting:
                        await self._answer_next(later)
                    for _ in range(len(self._overloaded)):
                        await _send(*self._overloaded.popleft())

    async def _answer_next(self, later: TaskGroup) -> None:
        event = self._waiting.take()
        link, request = event.link, event.frame
        method = self._methods.get(request.method)
        if method is None:
            message = f"{request.method!r} is not served by this hub"
            await _send(link, _refusal(request, ErrorCode.UNKNOWN_METHOD, message))
            return
        cause = f"device:{link.device_id}"
        with written_for(cause):
            answering = _answered(request, partial(method.answer, link, request.params))
            answer = await charged(self._loop, cause, answering)
            if isinstance(answer, Later):
                later.start_soon(self._answer_later, cause, link, request, answer)
            else:
                await _send(link, answer)

    async def _answer_later(self, cause: str, link: DeviceLink, request: Request, later: Later) -> None:
        response = await charged(self._loop, cause, _answered(request, later.answer))
        assert isinstance(response, Response)
        await _send(link, response)


async def _answered(
    request: Request, answer: Callable[[], Awaitable[Parameters | Later]]
) -> Response | Later:
    """Return the response to a request; an error becomes a refusal."""
    try:
        result = await answer()
    except HubError as exc:
        hint = getattr(exc, "hint", "")
        return _refusal(request, exc.code, str(exc), getattr(exc, "retry_after_s", None), hint=hint)
    except Exception as exc:  # the loop that must survive
        log.error("request.failed", exc=exc, method=request.method)
        return _refusal(request, ErrorCode.INTERNAL, "the hub failed at this request")
    return result if isinstance(result, Later) else Response(id=request.id, result=result)


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
