"""Souls of agents (SOUL.md): reading and writing at gateways and devices, conflicts, retries.

Permissions are checked first. Writes are passed to ``SoulWriter``, which carries them out. Versions by other
authors are added to the history when they are read.

Writes of souls, carried out until each has an end, and their places: a gateway or a device.

Both places replace only the version that the hub has read, identified by the SHA-256 of the text. The hub
computes the hash too.

A write is committed as a row before it is sent. Each attempt first reads the stored soul. If it is the new
text, the write is done. If it is the expected version, it is replaced. If it is another text, a concurrent
author's version is kept. So after a crash of the hub, gateway or device, or a lost answer, no write is lost
or repeated. Waiting writes are attempted at the start, when a gateway or device reconnects, and periodically.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.coordination.message_transitions import Waiters
from hub.coordination.messages import NoSession
from hub.links.device_link import DeviceLink
from hub.openclaw import (
    FileConflict,
    Gateway,
    GatewayError,
    GatewayInvalid,
    GatewayNews,
    GatewayRefused,
    NewsLost,
    Reconnected,
)
from hub.openclaw.methods import AgentFile, file_get, file_set
from protocol.board_permissions import Verb
from protocol.calls import FileGet, FilePart, FilePut, FileStored
from protocol.coordination import SOUL_FILE, SoulWriteState
from protocol.errors import CodedError, DeliveryError, DeviceOffline, ErrorCode, HubError
from protocol.frame import Record
from protocol.ids import AgentId, CallId, DeviceId, RunId, SoulWriteId, trace_id_of, traceparent
from protocol.tool_calls import Action, ToolCall
from storage.coordination import souls
from storage.coordination.leads import NoGateway
from storage.coordination.souls import (
    NewSoulWrite,
    SoulBusy,
    SoulEnd,
    SoulOutcome,
    SoulPlace,
    SoulVersion,
    SoulWriteRow,
)
from storage.kernel.columns import Key
from storage.kernel.database import StorageError
from storage.store import Connection, Store

SOUL_BYTES: Final = 256 * 1024  # of a soul that the hub writes
VERSIONS: Final = 200  # of a soul, and of settled writes, that are kept
READY_S: Final = 5.0  # for a gateway that is reconnecting, before the caller gets an error
ANSWER_MS: Final = 30_000  # per call to a device
CONFLICT: Final = "agent_file_conflict"  # error type of gateways
MAX_BYTES: Final = 4 * 1024 * 1024  # of a soul on a device, by any author

T = TypeVar("T")


class Overtaken(HubError):
    """The current version is not the expected one; nothing was written."""

    code = ErrorCode.SOUL_CONFLICT


class DeviceRefused(HubError):
    """The device refused, or its answer is malformed; *may_return* is True if a retry may succeed."""

    code = ErrorCode.DEVICE_ERROR

    def __init__(self, message: str, *, may_return: bool = False) -> None:
        super().__init__(message)
        self.may_return = may_return


class Soul(msgspec.Struct, frozen=True, kw_only=True):
    """A soul with its hash. *updated_at* is in epoch milliseconds, or None if unknown."""

    content: str
    sha256: str
    updated_at: int | None = None


class SoulHome(Protocol):
    """Interface to the stored soul of one agent.

    Attributes:
        place: ``gateway:NAME`` or ``device:ID``.
        remembers: True if a repeated write id is answered with the first result.
    """

    place: str
    remembers: bool

    async def read(self, *, trace: str) -> Soul | None:
        """Return the current soul, or None if there is none.

        Raises:
            GatewayError, DeliveryError, DeviceRefused
        """
        ...

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Replace the soul by *content*. Return the hash of the stored text.

        Args:
            base: hash of the version to replace; ``ABSENT`` if there must be none.

        Raises:
            Overtaken: another version is stored; nothing was written.
            GatewayError, DeliveryError, DeviceRefused: see ``may_be_done`` for whether the text was written.
        """
        ...


class GatewayHome:
    """Soul at an OpenClaw gateway. Writing needs admin rights there."""

    remembers = False

    def __init__(self, gateway: Gateway, remote_id: str) -> None:
        self._gateway = gateway
        self._remote_id = remote_id
        self.place = f"gateway:{gateway.name}"

    async def read(self, *, trace: str) -> Soul | None:
        """Implement ``SoulHome.read``."""
        await self._gateway.ready(READY_S)  # a request would wait longer for a disconnected gateway
        file = await file_get(self._gateway, self._remote_id, SOUL_FILE, trace=trace)
        if file.missing or file.content is None:
            return None
        self._check(file, "agents.files.get")
        updated_at = None if file.updated_at_ms is None else int(file.updated_at_ms)
        return Soul(content=file.content, sha256=souls.digest(file.content), updated_at=updated_at)

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Implement ``SoulHome.write``. Without an existing file, a gateway has no hash to compare."""
        expected = None if base == souls.ABSENT else base
        try:
            file = await file_set(
                self._gateway, self._remote_id, SOUL_FILE, content, expected_hash=expected, trace=trace
            )
        except GatewayRefused as refused:
            # For a missing file, the refusal is plain, without a hash.
            if isinstance(refused, FileConflict) or refused.details.get("type") == CONFLICT:
                raise Overtaken(str(refused)) from refused
            raise
        if file.content is not None:
            self._check(file, "agents.files.set")
        return file.hash or ""

    def _check(self, file: AgentFile, method: str) -> None:
        if file.content is None or souls.digest(file.content) != file.hash:
            raise GatewayInvalid(
                f"gateway {self._gateway.name}: its answer to {method} has another hash than its content",
                gateway=self._gateway.name,
                dispatched=True,
            )


class DeviceHome:
    """Soul on a device of this hub, which remembers the answers to write requests."""

    remembers = True

    def __init__(self, link: DeviceLink, agent_id: AgentId, ids: IdFactory) -> None:
        self._link = link
        self._agent_id = agent_id
        self._ids = ids
        self.place = f"device:{link.device_id}"

    async def read(self, *, trace: str) -> Soul | None:
        """Implement ``SoulHome.read``."""
        for _ in range(3):  # the text may change while its parts are read
            first = part = await self._part(0, trace)
            if first.sha256 is None:
                return None
            content = part.content
            while part.next_offset is not None and part.sha256 == first.sha256:
                if part.next_offset != len(content) or len(content) > MAX_BYTES:
                    raise DeviceRefused(f"{self.place}: its parts of {SOUL_FILE} do not make a text")
                part = await self._part(part.next_offset, trace)
                content += part.content
            if part.sha256 == first.sha256:
                break
        else:
            raise DeviceRefused(f"{self.place}: {SOUL_FILE} changes while it is read", may_return=True)
        if souls.digest(content) != first.sha256:
            raise DeviceRefused(f"{self.place}: {SOUL_FILE} does not match its hash")
        return Soul(content=content, sha256=first.sha256, updated_at=first.updated_at)

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Implement ``SoulHome.write``."""
        expected = None if base == souls.ABSENT else base
        put = FilePut(name=SOUL_FILE, content=content, expected_sha256=expected)
        answer = await self._ask(Action.FILE_PUT, CallId(write_id), msgspec.structs.asdict(put), trace)
        return self._read(answer, FileStored).sha256

    async def _part(self, offset: int, trace: str) -> FilePart:
        request = msgspec.structs.asdict(FileGet(name=SOUL_FILE, offset=offset))
        answer = await self._ask(Action.FILE_GET, CallId(self._ids.fresh()), request, trace)
        return self._read(answer, FilePart)

    async def _ask(self, action: Action, id: CallId, data: Record, trace: str) -> Any:
        call = ToolCall(
            id=id, action=action, data=data, agent_id=self._agent_id, deadline_ms=ANSWER_MS, trace=trace
        )
        answer = await self._link.call(call)
        error = answer.error
        if error is None:
            return answer.result
        if error.code == ErrorCode.CHANGED_MEANWHILE:
            raise Overtaken(f"{self.place}: {error.message}")
        raise DeviceRefused(f"{self.place}: {error.message or error.code}", may_return=error.retryable)

    def _read(self, answer: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise DeviceRefused(f"{self.place}: its answer cannot be read: {error}") from error


class SoulHomes:
    """Lookup of the home of a soul.

    Args:
        find_gateway: returns the gateway with a name of hub.toml.
        find_link: returns a device's link if it is connected to this hub.
    """

    def __init__(
        self,
        find_gateway: Callable[[str], Gateway | None],
        find_link: Callable[[DeviceId], DeviceLink | None],
        ids: IdFactory,
    ) -> None:
        self._find_gateway = find_gateway
        self._find_link = find_link
        self._ids = ids

    def check(self, place: SoulPlace) -> None:
        """Check that the agent has a home, which may be disconnected.

        Raises:
            NoSession, NoGateway
        """
        if place.gateway_id is not None:
            if place.gateway is None or self._find_gateway(place.gateway) is None:
                raise NoGateway(f"the gateway of agent {place.agent} is not in hub.toml")
        elif place.device_id is None:
            raise NoSession(f"agent {place.agent} lives on no gateway and on no device")

    def get(self, place: SoulPlace) -> SoulHome:
        """Return the home of a soul, for requests.

        Raises:
            NoSession, NoGateway
            DeviceOffline: the device is not connected to this hub.
        """
        self.check(place)
        if place.gateway is not None and place.remote_id is not None:
            gateway = self._find_gateway(place.gateway)
            assert gateway is not None, "it was checked"
            return GatewayHome(gateway, place.remote_id)
        assert place.device_id is not None, "it was checked"
        link = self._find_link(place.device_id)
        if link is None:
            raise DeviceOffline(f"device {place.device} of agent {place.agent} is not connected")
        return DeviceHome(link, place.agent_id, self._ids)


# Errors of requests to a home.
HomeError = GatewayError | DeliveryError | DeviceRefused
HOME_ERRORS: Final = (GatewayError, DeliveryError, DeviceRefused)


def may_return(error: HomeError) -> bool:
    """Return True if the same request may succeed later."""
    match error:
        case GatewayError():
            return error.retryable
        case DeviceRefused():
            return error.may_return
        case DeliveryError():
            return error.code != ErrorCode.CALL_UNSUPPORTED


def may_be_done(error: HomeError) -> bool:
    """Return True if the request may have been carried out despite the error."""
    return isinstance(error, GatewayError) and error.dispatched


log = Channel(__name__)

POLL_S: Final = 2.0  # while a write is open: another hub may have added it, or a device may have connected
REST_S: Final = 30.0  # while no write is open
TAKEN_MS: Final = 120_000  # per attempt: two gateway requests, and the wait for its connection
AGAIN_MS, AGAIN_CAP_MS = 1_000, 60_000  # after a failed attempt, doubled with each
# after this time the write fails, so that other writes of the soul can proceed
GIVE_UP_MS: Final = 24 * 3_600_000
AT_ONCE: Final = 100  # writes in progress


class SoulWriter:
    """Accepts writes, and carries them out as a service.

    Attributes:
    """

    def __init__(
        self, *, store: Store, homes: SoulHomes, clock: Clock, ids: IdFactory, metrics: Metrics
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._homes = homes
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._in_flight: set[SoulWriteId] = set()
        # monotonic time until which an unavailable home is not looked up again
        self._absent: dict[SoulWriteId, float] = {}
        self._settled = Waiters(clock)
        self._is_any_open = True  # at the last round
        self._is_hurried = True  # open writes of an earlier boot must be released

    async def add(self, new: NewSoulWrite, *, wait_s: float) -> SoulWriteRow:
        """Commit a write, and return it in its state after *wait_s*.

        While another write of the same soul is open, this write waits for it.

        Raises:
            SoulBusy: the other write is still open; nothing was written.
        """
        deadline = self._clock.monotonic() + wait_s
        while True:
            left_s = deadline - self._clock.monotonic()
            try:
                write = await self._store.write(souls.add_write, new)
                break
            except SoulBusy as busy:
                if left_s <= 0:
                    raise
                await self.settled_or(busy.write_id, left_s)
        self.loop.wake()
        return await self.settled_or(write.id, deadline - self._clock.monotonic())

    async def settled_or(self, write_id: SoulWriteId, wait_s: float) -> SoulWriteRow:
        """Return the write once it has ended, or its state after *wait_s*."""

        async def read() -> SoulWriteRow:
            return await self._store.read(souls.get_write, write_id)

        return await self._settled.wait(
            write_id, wait_s, read, lambda write: write.state is not SoulWriteState.WAITING, poll_s=POLL_S
        )

    # --- service ---

    def recheck(self) -> None:
        """Resume waiting writes now."""
        self._is_hurried = True
        self.loop.wake()

    def device_ready(self) -> None:
        """Resume waiting writes, if there are any, when a device has connected."""
        if self._is_any_open:
            self.recheck()

    def on_news(self, news: GatewayNews | NewsLost) -> None:
        """Resume waiting writes when a gateway has reconnected."""
        if isinstance(news, Reconnected):
            self.recheck()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Execute writes until cancelled. Interrupted writes are resumed at the next start."""
        task_status.started()
        self._in_flight.clear()
        async with anyio.create_task_group() as writers:
            await self.loop.serve(partial(self._poll, writers), of="souls", every_s=POLL_S)

    async def _poll(self, writers: TaskGroup) -> float:
        """Start all due writes. Return the seconds until the next round."""
        now = self._clock.monotonic()
        self._absent = {id: until for id, until in self._absent.items() if until > now}
        if self._is_hurried:
            self._is_hurried = False
            self._absent.clear()
            await self._store.write(souls.hurry, now_ms(self._clock))
        after = ""
        while len(self._in_flight) < AT_ONCE:
            due = await self._store.read(souls.due_writes, now_ms(self._clock), AT_ONCE, after=after)
            for write_id in due:
                if write_id not in self._in_flight and write_id not in self._absent:
                    self._in_flight.add(write_id)
                    writers.start_soon(self._bring, write_id)
            if len(due) < AT_ONCE:
                break
            after = due[-1]
        self._is_any_open = await self._store.read(souls.next_due) is not None
        return POLL_S if self._is_any_open else REST_S

    async def _bring(self, write_id: SoulWriteId) -> None:
        """Make one attempt at a write. Errors affect only this write."""
        try:
            await self._attempt(await self._store.read(souls.get_write, write_id))
        except StorageError as exc:  # its row has the time of the next attempt
            log.error("soul.database", exc=exc)
        except Exception as exc:
            log.error("soul.broke", exc=exc, write_id=write_id)
        finally:
            self._in_flight.discard(write_id)

    async def _attempt(self, write: SoulWriteRow) -> None:
        place = await self._store.read(souls.find_place, write.agent_id)
        if place is None:
            error = CodedError(ErrorCode.UNKNOWN_AGENT, "the agent was removed")
            await self._settle(write, write.agent_id, "nowhere", SoulWriteState.FAILED, error=error)
            return
        if write.created_at + GIVE_UP_MS <= now_ms(self._clock):
            await self._give_up(write, place)
            return
        try:
            home = self._homes.get(place)
        except (DeviceOffline, NoSession, NoGateway) as absent:
            # The row stays due: its device may be connected to another hub, which checks for itself.
            self._absent[write.id] = self._clock.monotonic() + REST_S
            if write.reason_code != absent.code:
                await self._postpone(write, absent, 0)
            return
        if not await self._store.write(souls.claim_write, write, until=now_ms(self._clock) + TAKEN_MS):
            return
        try:
            await self._try(write, place.agent, home)
        except HOME_ERRORS as error:
            if may_return(error):
                await self._postpone(write, error, _again_ms(now_ms(self._clock) - write.created_at, error))
            else:
                await self._settle(write, place.agent, home.place, SoulWriteState.FAILED, error=error)

    async def _try(self, write: SoulWriteRow, agent: str, home: SoulHome) -> None:
        trace = traceparent(RunId(write.id), "soul")
        unclear: HomeError | None = None
        for _ in range(3):  # another author may write between the hub's read and write
            since = await self._store.read(souls.last_version, write.agent_id)
            soul = await home.read(trace=trace)
            found = souls.ABSENT if soul is None else soul.sha256
            if found == write.sha256:
                await self._settle(write, agent, home.place, SoulWriteState.DONE)
                return
            base = found if write.expected_sha256 is None else write.expected_sha256
            if found != base:
                was_written = bool(write.sends) and await self._was_written(write, home, base, trace)
                to: SoulEnd = SoulWriteState.DONE if was_written else SoulWriteState.CONFLICT
                await self._settle(write, agent, home.place, to, found=soul)
                return
            if unclear is not None:
                raise unclear
            if soul is not None:
                await self.note(write.agent_id, home, soul, since)
            if not await self._store.write(souls.begin_send, write, base):
                return  # another process has changed the write
            write = msgspec.structs.replace(write, expected_sha256=base, sends=write.sends + 1)
            try:
                written = await home.write(write.content, base=base, write_id=write.id, trace=trace)
            except Overtaken:
                continue  # read the current version
            except HOME_ERRORS as error:
                if may_return(error) or not may_be_done(error):
                    raise
                unclear = error  # the write may have happened despite the error: read again
                continue
            if written == write.sha256:
                await self._settle(write, agent, home.place, SoulWriteState.DONE)
                return
        raise DeviceOffline(f"{home.place}: the soul changes faster than it can be written")

    async def _was_written(self, write: SoulWriteRow, home: SoulHome, base: str, trace: str) -> bool:
        """Return True if the home remembers that this write succeeded before another author's write."""
        if not home.remembers:
            return False
        try:
            written = await home.write(write.content, base=base, write_id=write.id, trace=trace)
        except Overtaken:
            return False
        return written == write.sha256

    async def _give_up(self, write: SoulWriteRow, place: SoulPlace) -> None:
        where = f"gateway:{place.gateway}" if place.gateway_id else f"device:{place.device_id}"
        reason = write.problem or "it was not reached"
        known = "; whether it was written is not known" if write.sends else ""
        error = HubError(f"given up after a day: {reason}{known}")
        code = ErrorCode(write.reason_code or ErrorCode.DEVICE_OFFLINE)
        await self._settle(write, place.agent, where, SoulWriteState.FAILED, error=error, code=code)

    async def _settle(
        self,
        write: SoulWriteRow,
        agent: str,
        where: str,
        to: SoulEnd,
        *,
        found: Soul | None = None,
        error: HubError | None = None,
        code: ErrorCode | None = None,
    ) -> None:
        """End the write. Does nothing if it has ended already."""
        end = SoulOutcome(
            to=to,
            place=where,
            agent=agent,
            activity_id=self._ids.fresh(),
            at=now_ms(self._clock),
            found=None if found is None else found.content,
            reason_code=None if error is None else code or error.code,
            problem=None if error is None else str(error)[:2_000],
        )
        settled = await self._store.write(souls.settle, write, end, most_versions=VERSIONS)
        self._settled.notify(write.id)
        if settled is None:
            return
        self._metrics.soul_writes.labels(to).inc()
        fields = {"agent_id": write.agent_id, "write_id": write.id, "place": where, "sends": write.sends}
        match to:
            case SoulWriteState.DONE:
                log.info("soul.written", **fields, sha256=write.sha256)
            case SoulWriteState.CONFLICT:
                expected = settled.expected_sha256
                log.warning("soul.conflict", **fields, expected=expected, found=settled.found_sha256)
            case SoulWriteState.FAILED:
                log.warning("soul.failed", **fields, code=settled.reason_code)

    # --- helpers ---

    async def place_of(self, agent_id: AgentId) -> SoulPlace:
        """Return the place of an agent's soul.

        Raises:
            CodedError (UNKNOWN_AGENT): the agent was removed.
        """
        place = await self._store.read(souls.find_place, agent_id)
        if place is None:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
        return place

    async def note(self, agent_id: AgentId, home: SoulHome, soul: Soul, since: int) -> None:
        """Add an agent's soul (persona text), as read, to its history, unless it is the newest version."""
        if await self._store.read(souls.last_digest, agent_id) == soul.sha256:
            return  # the usual case: nothing to write
        is_new = await self._store.write(
            souls.note_seen,
            agent_id,
            soul.content,
            actor=home.place,
            at=now_ms(self._clock),
            most_versions=VERSIONS,
            since=since,
        )
        if is_new:
            log.info("soul.seen", agent_id=agent_id, place=home.place, sha256=soul.sha256)

    async def _postpone(self, write: SoulWriteRow, error: HubError, wait_ms: int) -> None:
        until = now_ms(self._clock) + wait_ms
        problem = str(error)[:2_000]
        if await self._store.write(
            souls.put_off, write, until=until, reason_code=error.code, problem=problem
        ):
            log.info("soul.waits", agent_id=write.agent_id, write_id=write.id, code=error.code)


def _again_ms(age_ms: int, error: HomeError) -> int:
    """Return the delay before the next attempt: the age of the write, within limits."""
    asked = getattr(error, "retry_after_ms", None) or 0
    return max(asked, min(AGAIN_CAP_MS, max(AGAIN_MS, age_ms)))


P = ParamSpec("P")

WAIT_S: Final = 10.0  # for the write to complete, before it is returned in its waiting state
MAX_WAIT_S: Final = 120.0


class SoulSight(msgspec.Struct, frozen=True, kw_only=True):
    """A soul that was read.

    Attributes:
        soul: None if there is none.
        open_write: the write in progress, or None.
    """

    place: SoulPlace
    where: str
    soul: Soul | None
    open_write: SoulWriteRow | None


class SoulRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Requested text of a soul.

    Attributes:
        expected_sha256: hash of the version to replace; ``""`` if there must be none; None for the version
            that the hub reads, which must not change before the write.
    """

    content: str
    expected_sha256: str | None = None
    reason: str | None = None
    source_url: str | None = None
    correlation_id: str | None = None
    dedupe_key: str | None = None


class SoulService:
    """Souls of agents, for authorized callers."""

    def __init__(
        self,
        *,
        store: Store,
        homes: SoulHomes,
        writer: SoulWriter,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._homes = homes
        self._writer = writer
        self._clock = clock
        self._ids = ids
        self._metrics = metrics

    async def read(self, caller: Caller, board: str, agent: str) -> SoulSight:
        """Return the soul of an agent, read from the agent's home.

        Raises:
            UnknownBoard, CodedError, NoSession, NoGateway
            GatewayError, DeliveryError, DeviceRefused: the home is unavailable or refused.
        """
        _, target = await self._store.read(board_access.target, caller, Verb.SOUL_READ, board, agent)
        place = await self._writer.place_of(target.id)
        home = self._homes.get(place)
        since = await self._store.read(souls.last_version, target.id)
        soul = await home.read(trace=traceparent(RunId(self._ids.fresh()), "soul"))
        if soul is not None:
            await self._writer.note(target.id, home, soul, since)
        open_write = await self._store.read(souls.find_open, target.id)
        return SoulSight(place=place, where=home.place, soul=soul, open_write=open_write)

    async def write(
        self, caller: Caller, board: str, agent: str, request: SoulRequest, *, wait_s: float = 0.0
    ) -> SoulWriteRow:
        """Write a soul without blanks around it. Return the write in its state after *wait_s*.

        A write that waits for its gateway or device continues in the background. While another write of the
        same soul is open, this write waits for it.

        Raises:
            UnknownBoard, CodedError, NoSession, NoGateway: nothing
                was committed.
            SoulBusy: another write is still open.
            CodedError: the write has failed.
        """
        found, target = await self._store.read(board_access.target, caller, Verb.SOUL_WRITE, board, agent)
        content = request.content.strip()
        self._check(content)
        self._homes.check(await self._writer.place_of(target.id))
        id = SoulWriteId(self._ids.fresh())
        new = NewSoulWrite(
            id=id,
            agent_id=target.id,
            board_id=found.id,
            content=content,
            expected_sha256=request.expected_sha256,
            reason=request.reason,
            source_url=request.source_url,
            from_agent_id=caller.agent_id,
            actor=caller.actor,
            correlation_id=request.correlation_id,
            trace_id=trace_id_of(RunId(id)),
            dedupe_key=None
            if request.dedupe_key is None
            else f"{target.id}:{caller.actor}:{request.dedupe_key}",
            at=now_ms(self._clock),
        )
        write = await self._writer.add(new, wait_s=wait_s)
        match write.state:
            case SoulWriteState.CONFLICT:
                raise _conflict(target.name, write)
            case SoulWriteState.FAILED:
                raise CodedError(
                    ErrorCode(write.reason_code or ErrorCode.INTERNAL),
                    write.problem or "the soul was not written",
                    members={"write_id": write.id},
                )
        return write

    async def history(
        self, caller: Caller, board: str, agent: str, *, limit: int, after: Key | None = None
    ) -> list[SoulVersion]:
        """Return the versions that this hub wrote, read or failed to write, newest first.

        Raises:
            UnknownBoard, CodedError
        """
        return await self._store.read(
            _of_target, caller, board, agent, souls.list_versions, limit=limit, after=after
        )

    async def writes(self, caller: Caller, board: str, agent: str, *, limit: int) -> list[SoulWriteRow]:
        """Return the writes, open or settled, newest first.

        Raises:
            UnknownBoard, CodedError
        """
        return await self._store.read(_of_target, caller, board, agent, souls.list_writes, limit=limit)

    async def version(self, caller: Caller, board: str, agent: str, seq: int) -> tuple[SoulVersion, str]:
        """Return a version with its text.

        Raises:
            UnknownBoard, CodedError
        """
        return await self._store.read(_of_target, caller, board, agent, souls.get_version, seq)

    def _check(self, content: str) -> None:
        if not content:
            raise CodedError(ErrorCode.BAD_PARAMS, "content: a soul may not be empty")
        if any(sign < " " and sign not in "\t\n\r" for sign in content):
            raise CodedError(ErrorCode.BAD_PARAMS, "content: a soul is text, without control characters")
        try:
            size = len(content.encode())
        except UnicodeEncodeError:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "content: has half a character (a lone surrogate)"
            ) from None
        if size > SOUL_BYTES:
            self._metrics.limits_reached.labels("soul_bytes").inc()
            raise CodedError(
                ErrorCode.TOO_LARGE,
                f"a soul has at most {SOUL_BYTES} bytes (soul_bytes), this one {size}",
            )


def _of_target(
    c: Connection,
    caller: Caller,
    board: str,
    agent: str,
    fn: Callable[Concatenate[Connection, AgentId, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return the result of *fn* for the id of an agent whose soul the caller may read."""
    _, target = board_access.target(c, caller, Verb.SOUL_READ, board, agent)
    return fn(c, target.id, *args, **kwargs)


def _conflict(agent: str, write: SoulWriteRow) -> CodedError:
    """Return the refusal: another author's version is kept; the text of this write is in the history."""
    expected, found = write.expected_sha256 or "none", write.found_sha256 or "none"
    return CodedError(
        ErrorCode.SOUL_CONFLICT,
        f"the soul of {agent} is not the one that was to be replaced: {expected} was expected,"
        f" {found} was found",
        members={
            "write_id": write.id,
            "expected_sha256": write.expected_sha256,
            "found_sha256": write.found_sha256,
        },
    )
