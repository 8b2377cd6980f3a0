"""The hub as its operators ask it: rows turned into answers. Implements ``ops.facade.HubFacade``."""

import base64
import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.ops.address import Address
from hub.ops.facade import (
    AgentView,
    Check,
    DeviceView,
    Health,
    MoveView,
    NewToken,
    Readiness,
    RunDetail,
    RunErrorView,
    RunProgress,
    RunView,
    StatusView,
    TokenView,
    UnitView,
    UnknownToken,
)
from hub.runs.dispatcher import Dispatcher
from hub.runs.progress import RunWatch
from hub.version import VERSION
from protocol.errors import CloseCode, ErrorCode, HubError
from protocol.handshake import Goodbye
from protocol.ids import DeviceId, RunId, TokenId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, PauseReason, RunState
from storage.store import (
    AgentRow,
    DeviceRow,
    RunRow,
    Store,
    TokenRow,
    UnknownAgent,
    UnknownRun,
    agents,
    devices,
    outbox,
    runs,
)

TOKEN_BYTES: Final = 32  # nobody guesses 256 bits, so a plain hash of it may be kept
TOKEN_PREFIX: Final = "hub_dev_"  # secret scanners find it


class Where(msgspec.Struct, frozen=True):
    """Where a running hub listens."""

    devices: tuple[str, int]
    operator: Address
    socket: Path

    def spelled(self) -> dict[str, str]:
        """As people read it."""
        return {
            "devices": str(Address(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }


class Operations:
    """Answers operators."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        dispatcher: Dispatcher,
        watch: RunWatch,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        user_id: UserId,
        hub_id: str,
        name: str,
        model: str | None,
        database: str,
    ) -> None:
        self._store = store
        self._roster = roster
        self._dispatcher = dispatcher
        self._watch = watch
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._user_id = user_id
        self._hub_id = hub_id
        self._name = name
        self._model = model
        self._database = database
        self._started = clock.monotonic()
        self.where: Where | None = None  # set once everything listens

    def health(self) -> Health:
        """Answer at once, without I/O."""
        return Health()

    async def readiness(self) -> Readiness:
        """Database, listeners, not draining."""
        checks = [
            await self._database_check(),
            Check(name="listeners", ok=self.where is not None),
            Check(name="not draining", ok=not self._is_draining),
        ]
        return Readiness(ready=all(check.ok for check in checks), checks=tuple(checks))

    @property
    def _is_draining(self) -> bool:
        return self._dispatcher.is_draining or self._roster.is_draining

    async def _database_check(self) -> Check:
        try:
            await self._store.read(runs.list_runs, limit=1)
        except HubError as exc:
            return Check(name="database", ok=False, detail=str(exc))
        return Check(name="database", ok=True)

    async def status(self) -> StatusView:
        """One screen about the daemon."""
        known = await self._store.read(devices.list_devices)
        return StatusView(
            name=self._name,
            hub_id=self._hub_id,
            version=VERSION,
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            state="draining" if self._is_draining else "running",
            devices_known=len(known),
            devices_connected=len(self._roster),
            agents=len(await self._store.read(agents.list_agents)),
            runs=await self._store.read(runs.count_runs),
            model=self._model,
            listeners={} if self.where is None else self.where.spelled(),
            database=self._database,
        )

    async def devices(self) -> list[DeviceView]:
        """All devices, by name."""
        return [self._device_view(row) for row in await self._store.read(devices.list_devices)]

    async def agents(self) -> list[AgentView]:
        """All agents that are not archived, by name."""
        return [await self._agent_view(row) for row in await self._store.read(agents.list_agents)]

    async def agent(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        return await self._agent_view(await self._agent(name))

    async def runs(self, *, agent: str | None, limit: int) -> list[RunView]:
        """The newest first."""
        agent_id = None if agent is None else (await self._agent(agent)).id
        rows = await self._store.read(runs.list_runs, agent_id=agent_id, limit=limit)
        names = await self._device_names()
        return [self._run_view(row, names) for row in rows]

    async def run(self, run_id: str) -> RunDetail:
        """Raises UnknownRun."""
        row = await self._run(run_id)
        units = await self._store.read(outbox.units_of, row.id)
        moves = await self._store.read(runs.run_history, row.id)
        return RunDetail(
            **dict(self._run_view(row, await self._device_names())),
            units=tuple(
                UnitView(path=unit.unit_key, state=unit.state, items=unit.calls_settled, error=unit.error)
                for unit in units
            ),
            errors=tuple(
                RunErrorView(
                    path=error.unit_key, code=error.code, message=error.message, at=from_epoch_ms(error.at)
                )
                for error in row.errors
            ),
            history=tuple(
                MoveView(
                    at=from_epoch_ms(move.at),
                    before=move.old_state,
                    after=move.new_state,
                    actor=move.actor,
                    reason=move.reason,
                )
                for move in moves
            ),
        )

    async def start_run(self, agent_name: str, idempotency_key: str | None) -> RunView:
        """Queue a run; the same key gives the same run."""
        row = await self._dispatcher.submit(await self._agent(agent_name), fire_key=idempotency_key)
        return self._run_view(row, await self._device_names())

    async def follow_run(self, run_id: str) -> AsyncGenerator[RunProgress]:
        """The run now and after each change, until it is final."""
        names = await self._device_names()
        seq = 0
        async with aclosing(self._watch.changes(RunId(run_id))) as changes:
            async for _ in changes:
                row = await self._run(run_id)
                seq += 1
                yield RunProgress(seq=seq, run=self._run_view(row, names))
                if row.state in FINAL_RUN_STATES:
                    return

    async def create_token(self, device_name: str) -> NewToken:
        """A token for the device of that name, which is made too where it is new."""
        at = epoch_ms(self._clock.now())
        device = await self._store.write(
            devices.ensure_device,
            id=DeviceId(self._ids.fresh()),
            user_id=self._user_id,
            name=device_name,
            at=at,
        )
        secret = base64.urlsafe_b64encode(self._chance.token_bytes(TOKEN_BYTES)).decode().rstrip("=")
        token = TOKEN_PREFIX + secret
        row = await self._store.write(
            devices.create_token,
            id=TokenId(self._ids.fresh()),
            device_id=device.id,
            token_hash=hashlib.sha256(token.encode()).digest(),
            at=at,
        )
        return NewToken(id=row.id, device=device.name, token=token, created_at=from_epoch_ms(at))

    async def tokens(self) -> list[TokenView]:
        """All tokens, newest first."""
        return [_token_view(row) for row in await self._store.read(devices.list_tokens)]

    async def revoke_token(self, token_id: str) -> TokenView:
        """Revoke a token and close the connections of its device."""
        found = await self._find_token(token_id)
        await self._store.write(devices.revoke_token, found.id, epoch_ms(self._clock.now()))
        self._roster.end(found.device_id, Goodbye(reason=ErrorCode.REVOKED), CloseCode.REVOKED)
        return _token_view(await self._find_token(token_id))

    async def _find_token(self, token_id: str) -> TokenRow:
        for row in await self._store.read(devices.list_tokens):
            if row.id == token_id:
                return row
        raise UnknownToken(f"there is no token {token_id!r}")

    async def _agent(self, name: str) -> AgentRow:
        row = await self._store.read(agents.find_agent_by_name, name)
        if row is None or row.archived_at is not None:
            raise UnknownAgent(f"there is no agent {name!r}")
        return row

    async def _run(self, run_id: str) -> RunRow:
        row = await self._store.read(runs.find_run, RunId(run_id))
        if row is None:
            raise UnknownRun(f"there is no run {run_id!r}")
        return row

    async def _device_names(self) -> dict[DeviceId, str]:
        return {row.id: row.name for row in await self._store.read(devices.list_devices)}

    def _device_view(self, row: DeviceRow) -> DeviceView:
        link = self._roster.find(row.id)
        return DeviceView(
            id=row.id,
            name=row.name,
            connected=link is not None,
            platform=row.platform,
            capabilities=() if link is None else tuple(sorted(link.capabilities)),
            created_at=from_epoch_ms(row.created_at),
            last_seen_at=_moment(row.last_seen_at),
        )

    async def _agent_view(self, row: AgentRow) -> AgentView:
        newest = await self._store.read(runs.list_runs, agent_id=row.id, limit=1)
        names = await self._device_names()
        return AgentView(
            id=row.id,
            name=row.name,
            device=row.device_name or "",
            device_connected=row.device_id is not None and self._roster.find(row.device_id) is not None,
            paths=tuple(row.paths),
            file_extensions=tuple(row.file_extensions),
            data_types=tuple(row.data_types),
            prompt=row.prompt,
            schedule=row.schedule,
            timezone=row.timezone,
            last_run=next(iter(self._run_views(newest, names)), None),
        )

    def _run_views(self, rows: Iterable[RunRow], names: dict[DeviceId, str]) -> Iterable[RunView]:
        return (self._run_view(row, names) for row in rows)

    def _run_view(self, row: RunRow, names: dict[DeviceId, str]) -> RunView:
        device = names.get(row.device_id, "") if row.device_id else ""
        return RunView(
            id=row.id,
            agent=row.agent_name,
            device=device,
            state=row.state,
            outcome=row.outcome,
            reason=row.pause_reason or row.reason,
            waiting_for=self._waiting_for(row, device),
            attempt=row.attempt,
            units_total=max(row.units_total, row.units_done + row.units_skipped + row.units_failed),
            units_done=row.units_done,
            units_skipped=row.units_skipped,
            units_failed=row.units_failed,
            items_created=row.items_created,
            error_count=row.error_count,
            model_requests=row.usage.requests,
            prompt_tokens=row.usage.prompt_tokens,
            completion_tokens=row.usage.completion_tokens,
            created_at=from_epoch_ms(row.created_at),
            started_at=_moment(row.started_at),
            completed_at=_moment(row.completed_at),
        )

    def _waiting_for(self, row: RunRow, device: str) -> str | None:
        """A sentence for a person: what has to happen before the run goes on."""
        if row.state not in (RunState.QUEUED, RunState.PAUSED):
            return None
        if row.device_id is None or self._roster.find(row.device_id) is None:
            return f"device {device} is offline"
        match row.pause_reason:
            case PauseReason.EXHAUSTED:
                return f"the model's quota is used up; tried again at {_clock_time(row.eligible_at)}"
            case PauseReason.USER:
                return "somebody paused it"
            case _:
                pass
        if row.eligible_at > epoch_ms(self._clock.now()):
            return f"tried again at {_clock_time(row.eligible_at)}"
        return "waits for a free slot"


def _token_view(row: TokenRow) -> TokenView:
    return TokenView(
        id=row.id,
        device=row.device_name,
        created_at=from_epoch_ms(row.created_at),
        expires_at=_moment(row.expires_at),
        revoked_at=_moment(row.revoked_at),
    )


def _moment(at: int | None) -> datetime | None:
    return None if at is None else from_epoch_ms(at)


def _clock_time(at: int) -> str:
    return f"{from_epoch_ms(at):%H:%M:%S} UTC"
