"""The audit log: who changed what, who was refused, and whether the log itself was changed."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import AwareDatetime, StringConstraints

from hub.api.deps import NounRouter, WholeHub
from hub.api.paging import Paging
from hub.api.views.audit import AuditCheckView, AuditEntryView
from hub.api.views.view import View

router = NounRouter(prefix="/v1/audit", tags=["audit"])

Word = Annotated[str | None, Query(max_length=200, pattern="^[!-~]+$")]


class AuditEntries(View):
    """Some entries."""

    entries: tuple[AuditEntryView, ...]
    next_cursor: str | None = None


@router.get("")
async def list_entries(
    hub: WholeHub,
    paging: Paging,
    order: Annotated[Literal["newest", "oldest"], Query(description="Which entries come first.")] = "newest",
    event: Annotated[
        Word, Query(description="A name of events; ending in a dot: how their names begin, as in ``token.``")
    ] = None,
    actor: Word = None,
    subject: Word = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> AuditEntries:
    """Who changed what and who was refused, the newest first."""
    found = await hub.audit.entries(
        limit=paging.limit + 1,
        after=paging.after_number(),
        oldest_first=order == "oldest",
        event=event,
        actor=actor,
        subject=subject,
        since=since,
        until=until,
    )
    page = paging.fetched(found, key=lambda entry: (entry.seq,))
    return AuditEntries(entries=page.items, next_cursor=page.next_cursor)


@router.get("/verify")
async def verify(
    hub: WholeHub,
    known: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,17}:[0-9a-f]{64}$")] | None,
        Query(description="The number of an entry and its hash, kept elsewhere: ``812:3f2a...``"),
    ] = None,
) -> AuditCheckView:
    """Check the whole chain: an edited, a removed and an exchanged entry are found."""
    if known is None:
        return await hub.audit.check()
    seq, _, digest = known.partition(":")
    return await hub.audit.check(known_seq=int(seq), known_hash=digest)
