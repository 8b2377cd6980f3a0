"""Souls of agents, as operators and agents are told of them."""

from typing import Any

import msgspec

from hub.api.views.souls import SoulTextView, SoulVersionView, SoulView, SoulWriteView, WantedSoul
from hub.clock import from_epoch_ms
from hub.coordination.authority import Caller
from hub.coordination.souls import Souls, SoulWish
from hub.operations.moments import moment
from storage.coordination.soul_writes import SoulWriteRow
from storage.coordination.souls import SoulVersion


class SoulOperations:
    """Implements ``api.facades.souls.SoulFacade``."""

    def __init__(self, souls: Souls) -> None:
        self._souls = souls

    async def get(self, caller: Caller, board: str, agent: str) -> SoulView:
        """The soul as it is now where the agent lives."""
        sight = await self._souls.read(caller, board, agent)
        soul, place = sight.soul, sight.place
        content = "" if soul is None else soul.content
        return SoulView(
            agent=place.agent,
            gateway=place.gateway,
            device=place.device if place.gateway is None else None,
            content=content,
            sha256=None if soul is None else soul.sha256,
            size_bytes=len(content.encode()),
            updated_at=None if soul is None else moment(soul.updated_at),
            open_write=None if sight.open_write is None else _write(sight.open_write),
        )

    async def put(
        self, caller: Caller, board: str, agent: str, wanted: WantedSoul, *, wait_s: float
    ) -> SoulWriteView:
        """Write the soul."""
        wish = SoulWish(
            content=wanted.content,
            expected_sha256=wanted.expected_sha256,
            reason=_said(wanted.reason),
            source_url=_said(wanted.source_url),
            correlation_id=_said(wanted.correlation_id),
        )
        return _write(await self._souls.write(caller, board, agent, wish, wait_s=wait_s))

    async def writes(self, caller: Caller, board: str, agent: str, *, limit: int) -> list[SoulWriteView]:
        """The newest writes first."""
        return [_write(row) for row in await self._souls.writes(caller, board, agent, limit=limit)]

    async def history(
        self, caller: Caller, board: str, agent: str, *, limit: int, below: int | None = None
    ) -> list[SoulVersionView]:
        """The newest versions first."""
        found = await self._souls.history(caller, board, agent, limit=limit, below=below)
        return [SoulVersionView(**_version(version)) for version in found]

    async def version(self, caller: Caller, board: str, agent: str, seq: int) -> SoulTextView:
        """A version with its text."""
        version, content = await self._souls.version(caller, board, agent, seq)
        return SoulTextView(**_version(version), content=content)


def _said(text: str | None) -> str | None:
    return (text or "").strip() or None


def _version(version: SoulVersion) -> dict[str, Any]:
    return msgspec.structs.asdict(version) | {"at": from_epoch_ms(version.at)}


def _write(row: SoulWriteRow) -> SoulWriteView:
    return SoulWriteView(
        id=row.id,
        state=row.state.value,
        sha256=row.sha256,
        expected_sha256=row.expected_sha256,
        found_sha256=row.found_sha256,
        sends=row.sends,
        reason_code=row.reason_code,
        problem=row.problem,
        reason=row.reason,
        source_url=row.source_url,
        actor=row.actor,
        correlation_id=row.correlation_id,
        trace_id=row.trace_id,
        created_at=from_epoch_ms(row.created_at),
        settled_at=moment(row.settled_at),
    )
