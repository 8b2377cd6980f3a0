"""Souls of agents, read and written where the agents live: on gateways and on devices.

Permissions are checked first. Writes are passed to ``SoulWriter``, which carries them out. Versions by other
authors are added to the history when they are read.
"""

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec

from hub.clock import Clock, IdFactory, now_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.soul_writer import Soul, SoulHomes, SoulWriter
from hub.metrics import Metrics
from protocol.coordination import SoulWriteState, Verb
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, RunId, SoulWriteId, trace_id_of, traceparent
from storage.coordination import souls
from storage.coordination.souls import NewSoulWrite, SoulPlace, SoulVersion, SoulWriteRow
from storage.kernel.columns import Key
from storage.store import Connection, Store

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S: Final = 10.0  # for the write to complete, before it is returned in its waiting state
MOST_WAIT_S: Final = 120.0


class SoulConflict(HubError):
    """The stored version by another author is kept; the text of this write is in the history."""

    code = ErrorCode.SOUL_CONFLICT

    def __init__(self, agent: str, write: SoulWriteRow) -> None:
        expected, found = write.expected_sha256 or "none", write.found_sha256 or "none"
        super().__init__(
            f"the soul of {agent} is not the one that was to be replaced: {expected} was expected,"
            f" {found} was found"
        )
        self.members = {
            "write_id": write.id,
            "expected_sha256": write.expected_sha256,
            "found_sha256": write.found_sha256,
        }


class SoulNotWritten(HubError):
    """The write failed, for the reason in its row; its text is in the history."""

    def __init__(self, write: SoulWriteRow) -> None:
        super().__init__(write.problem or "the soul was not written")
        self.code = ErrorCode(write.reason_code or ErrorCode.INTERNAL)
        self.members = {"write_id": write.id}


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


class SoulLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limit of a soul written by the hub in bytes, and number of versions kept of each."""

    bytes: int = 256 * 1024
    versions: int = 200


class Souls:
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
        self._limits = SoulLimits()

    @property
    def limits(self) -> SoulLimits:
        """Limits on souls and their versions."""
        return self._limits

    @limits.setter
    def limits(self, limits: SoulLimits) -> None:
        self._limits = limits
        self._writer.most_versions = limits.versions

    async def read(self, caller: Caller, board: str, agent: str) -> SoulSight:
        """Return the soul of an agent, read from the agent's home.

        Raises:
            UnknownBoard, UnknownAgent, CodedError, NoSession, NoGateway
            GatewayError, DeliveryError, DeviceRefused: the home is unavailable or refused.
        """
        _, target = await self._store.read(authority.target, caller, Verb.SOUL_READ, board, agent)
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
        """Write a soul. Return the write in its state after *wait_s*.

        A write that waits for its gateway or device continues in the background. While another write of the
        same soul is open, this write waits for it.

        Raises:
            UnknownBoard, UnknownAgent, CodedError, NoSession, NoGateway: nothing
                was committed.
            SoulBusy: another write is still open.
            SoulConflict, SoulNotWritten: the write has failed.
        """
        found, target = await self._store.read(authority.target, caller, Verb.SOUL_WRITE, board, agent)
        self._check(request.content)
        self._homes.check(await self._writer.place_of(target.id))
        id = SoulWriteId(self._ids.fresh())
        new = NewSoulWrite(
            id=id,
            agent_id=target.id,
            board_id=found.id,
            content=request.content,
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
                raise SoulConflict(target.name, write)
            case SoulWriteState.FAILED:
                raise SoulNotWritten(write)
        return write

    async def history(
        self, caller: Caller, board: str, agent: str, *, limit: int, after: Key | None = None
    ) -> list[SoulVersion]:
        """Return the versions that this hub wrote, read or failed to write, newest first.

        Raises:
            UnknownBoard, UnknownAgent, CodedError
        """
        return await self._store.read(
            _of_target, caller, board, agent, souls.list_versions, limit=limit, after=after
        )

    async def writes(self, caller: Caller, board: str, agent: str, *, limit: int) -> list[SoulWriteRow]:
        """Return the writes, open or settled, newest first.

        Raises:
            UnknownBoard, UnknownAgent, CodedError
        """
        return await self._store.read(_of_target, caller, board, agent, souls.list_writes, limit=limit)

    async def version(self, caller: Caller, board: str, agent: str, seq: int) -> tuple[SoulVersion, str]:
        """Return a version with its text.

        Raises:
            UnknownBoard, UnknownAgent, CodedError
        """
        return await self._store.read(_of_target, caller, board, agent, souls.get_version, seq)

    def _check(self, content: str) -> None:
        if not content.strip():
            raise CodedError(ErrorCode.BAD_PARAMS, "content: a soul may not be empty")
        if any(sign < " " and sign not in "\t\n\r" for sign in content):
            raise CodedError(ErrorCode.BAD_PARAMS, "content: a soul is text, without control characters")
        try:
            size = len(content.encode())
        except UnicodeEncodeError:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "content: has half a character (a lone surrogate)"
            ) from None
        if size > self._limits.bytes:
            self._metrics.limits_reached.labels("soul_bytes").inc()
            raise CodedError(
                ErrorCode.TOO_LARGE,
                f"a soul has at most {self._limits.bytes} bytes (soul_bytes), this one {size}",
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
    _, target = authority.target(c, caller, Verb.SOUL_READ, board, agent)
    return fn(c, target.id, *args, **kwargs)
