"""Items that agents found, and the verdicts of their owners."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from hub.api.device import Link
from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, device, listed, route
from hub.api.view import Instant, View
from hub.clock import Clock, epoch_ms
from hub.metrics import Metrics
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.ids import RunId
from protocol.tables import TABLES, TableName
from storage.agents import agents
from storage.runs import calls, items
from storage.runs.calls import ReportedVerdict
from storage.runs.items import ItemRow
from storage.store import Connection, Store

MOST_VERDICTS: Final = 500  # in one report: as many as one write may look up
Verdicts = Annotated[list[ReportedVerdict], Meta(max_length=MOST_VERDICTS)]
ItemVerdict = Literal["open", "approved", "edited", "rejected"]


class ItemView(View, kw_only=True):
    """Item of the ledger. *run_id*: of the run that planned its newest call.

    *answered_at*: when the device answered for the newest version; null: the device may not have it.
    *warnings* for a reviewer: instruction, hidden_characters, approximate_quote, cut_answer.
    """

    id: str
    agent: str
    run_id: str
    path: str
    table: str
    title: str
    warnings: tuple[str, ...] = ()
    verdict: ItemVerdict
    version: int  # number of calls that it has led to
    row_id: str | None = None  # at its device
    created_at: Instant
    answered_at: Instant | None = None
    verdict_at: Instant | None = None


class ItemPlace(Struct):
    """Place of an item's words in its source.

    *quote* are the code points from *start* to *end* of the text that had the digest *sha256*. *link* opens
    the message that they are in.
    """

    quote: str
    start: int
    end: int
    sha256: str | None = None
    link: str | None = None


class ItemDetail(ItemView, kw_only=True):
    """Item with its content.

    *data*: of the newest version; *before*: what the device has, while an update is on its way to it.
    *place*: null once its owner has rejected it.
    """

    device: str | None = None
    data: dict[str, Any]
    before: dict[str, Any] | None = None
    place: ItemPlace | None = None


class Items(Noun):
    """The ledger of items."""

    name, path = "items", "/v1/items"

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._unknown_verdicts = metrics.verdicts_unknown

    @listed(
        "",
        Scope.READ,
        key=lambda item: (epoch_ms(item.created_at), item.id),
        errors=[ErrorCode.UNKNOWN_AGENT],
    )
    async def newest(
        self,
        agent: Annotated[str, Meta(max_length=200)] | None = None,
        verdict: ItemVerdict | None = None,
        run: Annotated[str, Meta(max_length=200)] | None = None,
        part: Part = ALL,
    ) -> list[ItemView]:
        """List items, the newest first: of all agents or of one, with one verdict, of one run."""

        def read(c: Connection) -> list[tuple[ItemRow, str]]:
            agent_id = None
            if agent is not None:
                agent_id = agents.agent_called(c, agent, self.user_id, or_removed=True).id
            return items.list_items(
                c,
                user_id=self.user_id,
                agent_id=agent_id,
                verdict=verdict,
                run_id=None if run is None else RunId(run),
                limit=part.limit,
                after=part.after,
            )

        return [_view(row, name) for row, name in await self._store.read(read)]

    @route("GET", "/{item_id}", Scope.READ, errors=[ErrorCode.UNKNOWN_ITEM])
    async def get(self, item_id: Annotated[str, Meta(max_length=200)]) -> ItemDetail:
        """Return one item with its content and its place in the source."""
        row, agent, device_name = await self._store.read(items.get_item, item_id, self.user_id)
        place = None if row.source is None else msgspec.convert(row.source, ItemPlace)
        return ItemDetail.from_row(row, **_shown(row), agent=agent, device=device_name, place=place)

    @device(Method.REVIEW_REPORT, "its own items")
    async def report(self, link: Link, verdicts: Verdicts) -> dict[str, Any]:
        """Store what the owner of a device decided about items that it was sent."""
        last = list({one.call_id: one for one in verdicts}.values())
        at = epoch_ms(self._clock.now())
        known = await self._store.write(calls.record_verdicts, link.device_id, last, at)
        unknown = len(last) - known
        self._unknown_verdicts.inc(unknown)
        return {"known": known, "unknown": unknown}


def _view(row: ItemRow, agent_name: str) -> ItemView:
    return ItemView.from_row(row, **_shown(row), agent=agent_name)


def _shown(row: ItemRow) -> dict[str, str]:
    """Return the fields of a view that have other names in the ledger."""
    title = ""
    if row.target_table in TABLES:  # else it is a table of another release
        title = str(row.data.get(TABLES[TableName(row.target_table)].title, ""))
    return {"path": row.unit_key, "table": row.target_table, "title": title}
