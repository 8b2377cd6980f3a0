"""The log of the running hub: its last entries, or as it goes."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from hub.api.deps import NounRouter, OpenStreams, WholeHub
from hub.api.errors import refusals
from hub.api.events import EventStream
from hub.api.paging import Paging
from hub.api.views.observe import LogLevel, LogView
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/logs", tags=["system"])

RunName = Annotated[
    str | None,
    Query(min_length=6, max_length=200, description="A run's id, or its last six or more characters."),
]
DeviceName = Annotated[str | None, Query(max_length=200, description="A device's name or id.")]
LeastLevel = Annotated[LogLevel, Query(description="Entries of this level and above.")]


class LogEntries(View):
    """Some entries."""

    entries: tuple[LogView, ...]
    next_cursor: str | None = None


@router.get(
    "", response_model=LogEntries, responses=refusals(ErrorCode.UNKNOWN_DEVICE, ErrorCode.UNKNOWN_RUN)
)
async def read_log(
    hub: WholeHub,
    streams: OpenStreams,
    paging: Paging,
    run: RunName = None,
    device: DeviceName = None,
    level: LeastLevel = "info",
    follow: Annotated[
        bool, Query(description="Server-sent events named ``log``: the last entries, then each that comes.")
    ] = False,
) -> LogEntries | Response:
    """The last entries, the newest first; with ``follow``, the oldest first and no end."""
    if follow:
        entries = await hub.logs.follow(run=run, device=device, level=level, limit=paging.limit)
        return EventStream(entries, name="log", streams=streams)
    found = await hub.logs.newest(
        run=run, device=device, level=level, below=paging.after_number(), limit=paging.limit + 1
    )
    page = paging.fetched(found, key=lambda entry: (entry.seq,))
    return LogEntries(entries=page.items, next_cursor=page.next_cursor)
