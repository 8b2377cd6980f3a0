"""Routes of the audit log: entries, filters, and the check of its hash chain."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import anyio
from msgspec import Meta

from hub.api.resource import (
    ALL,
    Instant,
    ListPart,
    Resource,
    View,
    command,
    listed,
    route,
)
from hub.api.resources.agent_status import EventWord, Word, check_event
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.roles import Scope
from hub.settings.edits import CHANGED, KeyChange
from protocol.status_vocabularies import EVENT_ALIASES
from storage import audit
from storage.audit import AuditBreak, AuditRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)


MAX_BREAKS: Final = 100  # listed


NOTE_S: Final = 1.0


class AuditEntryView(View):
    """Entry of the audit log.

    *actor*: ``operator:UID`` (over the Unix socket), ``token:ID``, ``device:ID`` or ``hub``; *subject*: the
    id of what was changed. *alias*: the name of the event in the coordination vocabulary, by which it is also
    found. *hash* covers the stored fields and *prev_hash*, the hash of the entry before. *actor_name*,
    *subject_name*: present names of their ids, if they have any. *changes*: of values, as *detail* has them.
    """

    seq: int
    at: Instant
    actor: str
    event: str
    subject: str | None
    outcome: Literal["done", "refused"]
    detail: dict[str, Any]
    prev_hash: str
    hash: str
    alias: str | None = None
    actor_name: str | None = None
    subject_name: str | None = None
    changes: tuple[KeyChange, ...] = ()


class AuditCheckView(View):
    """Result of a check of the whole chain.

    *last_seq* and *last_hash* are its end; kept elsewhere, they can be verified later.
    """

    ok: bool
    entries: int
    first_seq: int | None = None
    last_seq: int | None = None
    last_hash: str | None = None
    breaks: tuple[AuditBreak, ...] = ()
    more_breaks: int = 0  # found, and not listed


class AuditLogResource(Resource):
    """The audit log of all users."""

    name, path, list_key = "audit", "/v1/audit", "entries"
    is_scoped = False

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def note(self, event: str, *, actor: str) -> None:
        """Write an entry about an action that changed nothing, unless the database is slow or broken."""
        at = self._now
        with anyio.move_on_after(NOTE_S):
            try:
                await self._store.write(audit.append, at=at, actor=actor, event=event)
            except StorageError as exc:
                log.error("audit.unwritten", exc=exc, about=event, actor=actor)

    @command(
        "audit ls",
        example="hub audit ls --event settings.changed",
        json="audit",
        help="List the last entries, the newest first.",
        options={
            "event": "Only this event; 'token.' means all events that begin so.",
            "actor": "Only this actor: operator:UID, token:ID, device:ID or hub.",
            "subject": "Only entries about this subject.",
            "since": "Only entries from then on.",
            "until": "Only entries until then, a day included.",
            "limit": "--limit=50: Maximum number of entries.",
        },
        table=(
            "seq as entry",
            "at|at",
            "*|acted_by as actor",
            "{event}{outcome|refused} as event",
            "alias as alias?",
            "*|acted_on as subject",
            "*|entry_details as detail",
        ),
        empty="no matching entries",
    )
    @listed("", Scope.AUDIT, key=lambda entry: (entry.seq,))
    async def entries(
        self,
        order: Annotated[
            Literal["newest", "oldest"], Meta(description="Which entries come first.")
        ] = "newest",
        event: EventWord = None,
        actor: Word = None,
        subject: Word = None,
        since: Instant | None = None,
        until: Instant | None = None,
        part: ListPart = ALL,
    ) -> list[AuditEntryView]:
        """List changes and refusals with their actors, the newest first."""
        rows, names = await self._store.read(
            audit.list_named_entries,
            limit=part.limit,
            after=part.after,
            oldest_first=order == "oldest",
            event=event,
            actor=actor,
            subject=subject,
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
        )
        if not rows:
            check_event(event)
        return [_view(row, names) for row in rows]

    @command(
        "audit verify",
        example="hub audit verify",
        json="audit_check",
        help="Verify the whole chain: edited, removed and exchanged entries are reported.\n\n"
        "Exits with 1 when the log was changed.",
        options={
            "known": "NUMBER:HASH that you noted earlier; checks that the log still has this entry.",
        },
        prints="*|chain",
        notes=("last_seq|chain_note",),
        fails_if="ok|no",
    )
    @route("GET", "/verify", Scope.AUDIT)
    async def verify(
        self,
        known: Annotated[
            str,
            Meta(
                pattern=r"^[1-9]\d{0,17}:[0-9a-f]{64}$(?!\n)",
                description="The number of an entry and its hash, kept elsewhere: ``812:3f2a...``",
            ),
        ]
        | None = None,
    ) -> AuditCheckView:
        """Check the whole chain for edited, removed and exchanged entries."""
        # In parts, so that others use the database in between.
        part = await self._store.read(audit.check_part)
        entries, breaks = part.entries, list(part.breaks)
        while not part.is_last:
            part = await self._store.read(audit.check_part, part.end)
            entries += part.entries
            breaks += part.breaks
        if known is not None:
            seq, _, digest = known.partition(":")
            link = audit.Link(int(seq), bytes.fromhex(digest))
            found = await self._store.read(audit.check_known, link)
            breaks += [] if found is None else [found]
        first = await self._store.read(audit.list_entries, limit=1, oldest_first=True)
        end = part.end
        return AuditCheckView(
            ok=not breaks,
            entries=entries,
            first_seq=first[0].seq if first else None,
            last_seq=None if end is None else end.seq,
            last_hash=None if end is None else end.hash.hex(),
            breaks=tuple(breaks[:MAX_BREAKS]),
            more_breaks=max(0, len(breaks) - MAX_BREAKS),
        )


def _view(row: AuditRow, names: Mapping[str, str]) -> AuditEntryView:
    detail = audit.read_detail(row.detail)
    is_done = row.outcome == "done"
    return AuditEntryView.from_row(
        row,
        detail=detail,
        alias=next(
            (alias.name for alias in EVENT_ALIASES if is_done and alias.fits(row.event, detail)),
            None,
        ),
        prev_hash=row.prev_hash.hex(),
        hash=row.hash.hex(),
        actor_name=names.get(row.actor),
        subject_name=names.get(row.subject or ""),
        changes=tuple(_changes(row, detail)),
    )


def _changes(row: AuditRow, detail: Mapping[str, object]) -> Iterator[KeyChange]:
    """Yield the changed values that an entry tells, each with the value before."""
    if row.event == CHANGED and row.subject:
        yield KeyChange(row.subject, _text(detail.get("old")), _text(detail.get("new")))
    for name, old in detail.items():
        key = name.removesuffix(audit.OLD)
        if key != name:
            yield KeyChange(key, _text(old), _text(detail.get(key)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
