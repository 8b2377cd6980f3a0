"""A supervised connection to a gateway: established, used and re-established as long as needed.

The permanent connection is always needed. A connection on demand is needed while a caller waits for it, and
closes after a minute without use. Neither gives up: after each end, the time of the next attempt is known.
"""

from collections.abc import Callable
from typing import Final

import anyio
import msgspec
from websockets.exceptions import WebSocketException

from hub.log import Channel
from hub.openclaw import failures
from hub.openclaw.connection import CLOSE_S, Alarms, Around, Connection, Refused, dial
from hub.openclaw.failures import Ending
from hub.openclaw.frames import Event, HelloOk
from hub.openclaw.gateway import GatewayState, Need, Problem
from protocol.backoff import Backoff
from protocol.errors import HubError

OPEN_S: Final = (
    15.0  # for a connection to become ready, including name resolution; gateways wait as long for ``connect``
)
STEADY_S: Final = 30.0  # a connection that lasted this long resets the backoff
IDLE_S: Final = 60.0  # idle time after which a connection on demand closes
ASK_AGAIN_S: Final = 5.0  # a person who has just approved the hub need not wait for the next attempt
BACKOFF: Final = Backoff(base_s=1.0, cap_s=30.0)  # values of the reference client
_LEAST_DRAW: Final = 0.8  # 24 to 30 s at the cap

log = Channel(__name__)


class NoConnection(Exception):
    """A connection is not available or expected in time; *problem* gives the reason."""

    def __init__(self, state: GatewayState, problem: Problem, wait_s: float) -> None:
        super().__init__(problem.code)
        self.state = state
        self.problem = problem
        self.wait_s = wait_s


class Line:
    """Supervisor of one connection with the given *scopes*.

    Attributes:
        state: state of the connection; None if not needed.
        ending: end of the last connection or attempt; None while ready.
        next_try: monotonic time of the next attempt, while waiting.

    Args:
        on_event: called with each event of the gateway; must not wait.
        on_change: called after a change of the state.
    """

    def __init__(
        self,
        around: Around,
        scopes: tuple[Need, ...],
        *,
        on_demand: bool,
        on_event: Callable[[Event], None],
        on_change: Callable[[], None],
    ) -> None:
        self._around = around
        self._scopes = [str(scope) for scope in scopes]
        self._on_demand = on_demand
        self._on_event = on_event
        self._on_change = on_change
        self._connection: Connection | None = None
        self._waiters = 0
        self._asked = anyio.Event()
        self._woken = anyio.Event()
        self._changed = anyio.Event()
        self._tried_at = 0.0
        self._logged_reason: str | None = None  # last logged reason for a missing connection
        self._used_token: str | None = None  # device token of the last connection or attempt
        self._turn = 0  # index of the next credential
        self.state: GatewayState | None = None if on_demand else GatewayState.CONNECTING
        self.hello: HelloOk | None = None
        self.ending: Ending | None = None
        self.next_try: float | None = None

    # --- callers ---

    async def connection(self, deadline: float) -> Connection:
        """Wait until the connection is ready, and return it.

        Raises:
            NoConnection: no connection is expected before *deadline* (monotonic).
        """
        self._waiters += 1
        try:
            while True:
                if self._connection is not None and self._connection.ending is None:
                    return self._connection
                self._asked.set()
                self._give_up_or_wait(deadline)
                await self._changed.wait()
        finally:
            self._waiters -= 1

    def wake(self) -> None:
        """Retry now, whatever the connection waits for."""
        if self.state not in (GatewayState.READY, GatewayState.STOPPED):
            self._woken.set()
            self.next_try = None  # callers now wait for the result of this attempt

    def _give_up_or_wait(self, deadline: float) -> None:
        now = self._around.clock.monotonic()
        if self.next_try is None or self.ending is None or self.state is None:
            return
        if self.state is GatewayState.WAITING and self.next_try <= deadline:
            return
        if self.state is GatewayState.PARKED and self._on_demand and now - self._tried_at >= ASK_AGAIN_S:
            self.wake()
            return
        raise NoConnection(self.state, self.ending.problem, max(self.next_try - now, 0.0))

    # --- supervision ---

    async def keep(self) -> None:
        """Run until cancelled. The connection and all waits for it end before the return."""
        try:
            async with anyio.create_task_group() as tasks:
                await self._keep(Alarms(self._around.clock, tasks))
        finally:
            self.ending, self.next_try = failures.STOPPED, self._around.clock.monotonic()
            self._move(GatewayState.STOPPED)

    async def _keep(self, alarms: Alarms) -> None:
        attempt = refused = 0
        self.ending = self.next_try = None
        while True:
            await self._until_requested()
            self._move(GatewayState.CONNECTING)
            self._tried_at = self._around.clock.monotonic()
            ending, ready_s = await self._visit(alarms)
            if ending is None:
                continue  # closed because it was idle
            if ready_s is not None:
                refused = 0
                attempt = 0 if ready_s >= STEADY_S else attempt
            if ending.is_device_lost:
                await self._around.identity.forget(self._used_token)
                self._turn = 0
            if ending.was_shown:
                self._turn += 1
            if ending.was_shown or ending.is_device_lost:
                refused += 1
                if self._may_show_another(ending, refused):
                    ending = msgspec.structs.replace(ending, state=GatewayState.WAITING, wait_s=0.0)
            wait_s = self._wait_s(ending, attempt)
            attempt += 1
            self._around.metrics.gateway_connections.labels(ending.state).inc()
            self._log_end(ending, wait_s)
            self.ending = ending
            self.next_try = self._around.clock.monotonic() + wait_s
            self._move(ending.state)
            await self._pause(alarms, wait_s)
            self.next_try = None

    def _may_show_another(self, ending: Ending, refused: int) -> bool:
        """Return True if the next attempt can use a credential that was not rejected yet."""
        if ending.is_device_lost:
            return refused == 1 and self._around.identity.has_token
        return refused % self._around.identity.count > 0

    async def _until_requested(self) -> None:
        if not self._on_demand or self._waiters:
            return
        self._asked = anyio.Event()
        if self.ending is not None and self.ending.state is GatewayState.WAITING:
            self.ending = None  # the next caller triggers a new attempt
        self._move(None)
        await self._asked.wait()

    async def _pause(self, alarms: Alarms, wait_s: float) -> None:
        with alarms.move_on_after(wait_s):
            await self._woken.wait()
        self._woken = anyio.Event()  # reset only now: a wake-up during the last attempt ends this pause

    def _wait_s(self, ending: Ending, attempt: int) -> float:
        least_s = ending.wait_s * self._around.chance.uniform(1.0, 1.2)
        if ending.state is not GatewayState.WAITING:
            return least_s
        return max(least_s, BACKOFF.delay(attempt, self._around.chance.uniform(_LEAST_DRAW, 1.0)))

    # --- one connection ---

    async def _visit(self, alarms: Alarms) -> tuple[Ending | None, float | None]:
        """Establish one connection and run it to its end.

        Returns:
            The reason of the end, None for an idle connection on demand; and the seconds it was ready, or
            None.
        """
        around = self._around
        connection: Connection | None = None
        began: float | None = None
        try:
            try:
                with alarms.move_on_after(OPEN_S) as opening:
                    await around.identity.open()
                    self._used_token = around.identity.device_token
                    socket = await dial(around, alarms)
                    connection = Connection(
                        socket,
                        gateway=around.gateway,
                        clock=around.clock,
                        metrics=around.metrics,
                        on_event=self._on_event,
                    )
                    hello = await connection.greet(around.identity, self._turn, self._scopes, around.version)
                if opening.cancelled_caught:
                    raise TimeoutError
            except Refused as refused:
                return self._scrubbed(refused.ending), None
            except (OSError, WebSocketException, HubError, ValueError) as error:
                return failures.of_opening(around.address.where, error), None
            await around.identity.welcomed(hello.auth.device_token)
            self._used_token = around.identity.device_token
            began = around.clock.monotonic()
            self._became_ready(connection, hello)
            if self._on_demand:
                ending = await self._serve_until_idle(connection)
            else:
                ending = await connection.serve()
            return ending, around.clock.monotonic() - began
        finally:
            self._connection = None
            if connection is not None:
                connection.end(failures.STOPPED)
                with anyio.move_on_after(2 * CLOSE_S, shield=True):
                    await connection.hang_up()

    async def _serve_until_idle(self, connection: Connection) -> Ending | None:
        is_idle = False

        async def watch() -> None:
            nonlocal is_idle
            while (left_s := connection.used_at + IDLE_S - self._around.clock.monotonic()) > 0 or (
                connection.in_flight
            ):
                await self._around.clock.sleep(max(left_s, ASK_AGAIN_S))
            is_idle = True
            connection.end(failures.STOPPED)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            ending = await connection.serve()
            tasks.cancel_scope.cancel()
        return None if is_idle else ending

    def _became_ready(self, connection: Connection, hello: HelloOk) -> None:
        self._connection = connection
        self.hello = hello
        self.ending = self._logged_reason = None
        self._around.metrics.gateway_connections.labels(GatewayState.READY).inc()
        log.info(
            "gateway.connected",
            gateway=self._around.gateway,
            version=hello.server.version,
            boot_id=hello.server.boot_id,
            scopes=hello.auth.scopes,
        )
        self._move(GatewayState.READY)

    def _log_end(self, ending: Ending, wait_s: float) -> None:
        if self._logged_reason == ending.problem.code:
            write = log.debug  # already logged for an earlier attempt
        else:
            write = log.info if ending.state is GatewayState.WAITING else log.warning
        self._logged_reason = ending.problem.code
        write(
            "gateway.disconnected",
            gateway=self._around.gateway,
            state=ending.state,
            reason=ending.problem.code,
            wait_s=round(wait_s, 1),
        )

    def _scrubbed(self, ending: Ending) -> Ending:
        message = self._around.identity.scrubbed(ending.problem.message)
        return msgspec.structs.replace(
            ending, problem=Problem(ending.problem.code, message, ending.problem.hint)
        )

    def _move(self, state: GatewayState | None) -> None:
        self.state = state
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        self._on_change()
