"""The audit log: told in pages, and checked as a chain."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import anyio
import msgspec

from hub.api.views.audit import AuditBreakView, AuditCheckView, AuditEntryView
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.log import Channel
from storage.audit import audit
from storage.audit.audit import AuditRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

BREAKS_TOLD: Final = 100
NOTE_S: Final = 1.0


class AuditOperations:
    """Implements ``api.facades.AuditFacade``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def note(self, event: str, *, actor: str) -> None:
        """Tell of what changed nothing, if the database takes it soon: it was done already."""
        at = epoch_ms(self._clock.now())
        with anyio.move_on_after(NOTE_S):
            try:
                await self._store.write(audit.append, at=at, actor=actor, event=event)
            except StorageError as exc:
                log.error("audit.unwritten", exc=exc, about=event, actor=actor)

    async def entries(
        self,
        *,
        limit: int,
        after: int | None,
        oldest_first: bool = False,
        event: str | None = None,
        actor: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Sequence[AuditEntryView]:
        """Some entries, in order."""
        rows = await self._store.read(
            audit.list_entries,
            limit=limit,
            below=None if oldest_first else after,
            above=(after or 0) if oldest_first else None,
            event=event,
            actor=actor,
            subject=subject,
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
        )
        return [_view(row) for row in rows]

    async def check(self, *, known_seq: int | None = None, known_hash: str | None = None) -> AuditCheckView:
        """Check the chain in parts, so that others use the database in between."""
        part = await self._store.read(audit.check_part)
        entries, breaks = part.entries, list(part.breaks)
        while not part.is_last:
            part = await self._store.read(audit.check_part, part.end)
            entries += part.entries
            breaks += part.breaks
        if known_seq is not None and known_hash is not None:
            found = await self._store.read(
                audit.check_known, audit.Link(known_seq, bytes.fromhex(known_hash))
            )
            breaks += [] if found is None else [found]
        first = await self._store.read(audit.list_entries, limit=1, above=0)
        end = part.end
        return AuditCheckView(
            ok=not breaks,
            entries=entries,
            first_seq=first[0].seq if first else None,
            last_seq=None if end is None else end.seq,
            last_hash=None if end is None else end.hash.hex(),
            breaks=tuple(AuditBreakView(seq=one.seq, what=one.what) for one in breaks[:BREAKS_TOLD]),
            more_breaks=max(0, len(breaks) - BREAKS_TOLD),
        )


def _view(row: AuditRow) -> AuditEntryView:
    return AuditEntryView(
        seq=row.seq,
        at=from_epoch_ms(row.at),
        actor=row.actor,
        event=row.event,
        subject=row.subject,
        outcome="refused" if row.outcome == "refused" else "done",
        detail=_detail(row.detail),
        prev_hash=row.prev_hash.hex(),
        hash=row.hash.hex(),
    )


def _detail(text: str) -> dict[str, str | int | bool | None]:
    """What was told besides; where somebody edited it so that it cannot be read, that text."""
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | bool | None])
    except (msgspec.DecodeError, UnicodeError):
        return {"unreadable": text}
