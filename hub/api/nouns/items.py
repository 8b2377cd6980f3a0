"""Items that agents found, and the verdicts of their owners."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from hub.api.device import Link
from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, device, listed, route
from hub.api.parameters import Actor
from hub.api.view import Instant, View
from hub.clock import Clock, IdFactory, epoch_ms
from hub.metrics import Metrics
from hub.runs.verdict_delivery import problem_with
from protocol.coordination import Method
from protocol.errors import ErrorCode, HubError
from protocol.ids import CallId, RunId
from protocol.tables import TABLES, TableName
from storage.agents import agents
from storage.runs import calls, item_verdicts, items
from storage.runs.calls import ReportedVerdict
from storage.runs.item_verdicts import GivenVerdict, NewVerdict, VerdictRow, VerdictState
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


class GivenVerdictView(View):
    """Newest verdict that was given at the hub. *reason* of a refusal: an error code."""

    verdict: GivenVerdict
    state: VerdictState
    created_at: Instant
    reason: str | None = None


class ItemDetail(ItemView, kw_only=True):
    """Item with its content.

    *data*: of the newest version; *before*: what the device has, while an update is on its way to it.
    *place*: null once its owner has rejected it. *given*: null once it is no longer kept.
    """

    device: str | None = None
    data: dict[str, Any]
    before: dict[str, Any] | None = None
    place: ItemPlace | None = None

    given: GivenVerdictView | None = None


class NewVerdictView(View):
    """Verdict on the item *id*.

    *data*: values of an approval or edit, by field of the item's table. *version*: of the item as it was
    shown; another one that it has by now is a conflict.
    """

    id: Annotated[str, Meta(max_length=200)]
    verdict: GivenVerdict
    data: dict[str, Any] = {}
    version: Annotated[int, Meta(ge=1)] | None = None


class NewVerdictsView(View):
    """Verdicts to give; the devices of the items decide whether they take them."""

    verdicts: Annotated[list[NewVerdictView], Meta(max_length=MOST_VERDICTS)]


class VerdictError(View):
    """Error because of which a verdict was not stored."""

    code: str
    message: str


class VerdictResult(View):
    """Result of a verdict on the item *id*: its state, or an error.

    *state*: ``open`` if a verdict was undone before it was sent. *reason* of a refusal: an error code;
    ``not_granted`` and ``call_unsupported``: the device decides itself.
    """

    id: str
    state: Literal["pending", "sent", "done", "refused", "open"] | None = None
    reason: str | None = None
    error: VerdictError | None = None


class VerdictResults(View):
    """Results of verdicts, in the order of the request."""

    results: tuple[VerdictResult, ...]


class Items(Noun):
    """The ledger of items."""

    name, path = "items", "/v1/items"

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        on_given: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._on_given = on_given
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

        def read(c: Connection) -> tuple[ItemRow, str, str | None, VerdictRow | None]:
            newest = item_verdicts.newest_verdicts(c, [item_id]).get(item_id)
            return *items.get_item(c, item_id, self.user_id), newest

        row, agent, device_name, newest = await self._store.read(read)
        given = None if newest is None else GivenVerdictView.from_row(newest)
        place = None if row.source is None else msgspec.convert(row.source, ItemPlace)
        shown = _shown(row) | {"agent": agent, "device": device_name}
        return ItemDetail.from_row(row, **shown, place=place, given=given)

    @route("POST", "/verdicts", Scope.RUN)
    async def give(self, given: NewVerdictsView, actor: Actor) -> VerdictResults:
        """Give verdicts on items, as their owner; each is brought to the item's device.

        ``undo`` takes back the newest verdict that was given here. A verdict that is given again is the one
        that there is.
        """
        new = [
            NewVerdict(
                id=CallId(self._ids.fresh()),
                item_id=one.id,
                verdict=one.verdict,
                data=one.data,
                version=one.version,
            )
            for one in given.verdicts
        ]
        results = await self._store.write(
            item_verdicts.give,
            new,
            user_id=self.user_id,
            actor=actor,
            at=epoch_ms(self._clock.now()),
            check=problem_with,
        )
        self._on_given()
        return VerdictResults(
            results=tuple(_result(one.item_id, result) for one, result in zip(new, results, strict=True))
        )

    @device(Method.REVIEW_REPORT, "its own items")
    async def report(self, link: Link, verdicts: Verdicts) -> dict[str, Any]:
        """Store what the owner of a device decided about items that it was sent."""
        last = list({one.call_id: one for one in verdicts}.values())
        at = epoch_ms(self._clock.now())

        def write(c: Connection) -> int:
            item_verdicts.overtake(c, link.device_id, last, at)
            return calls.record_verdicts(c, link.device_id, last, at)

        known = await self._store.write(write)
        unknown = len(last) - known
        self._unknown_verdicts.inc(unknown)
        return {"known": known, "unknown": unknown}


def _result(item_id: str, given: VerdictRow | HubError | None) -> VerdictResult:
    if given is None:
        return VerdictResult(id=item_id, state="open")
    if isinstance(given, HubError):
        return VerdictResult(id=item_id, error=VerdictError(code=given.code, message=str(given)))
    return VerdictResult(id=item_id, state=given.state, reason=given.reason)


def _view(row: ItemRow, agent_name: str) -> ItemView:
    return ItemView.from_row(row, **_shown(row), agent=agent_name)


def _shown(row: ItemRow) -> dict[str, str]:
    """Return the fields of a view that have other names in the ledger."""
    title = ""
    if row.target_table in TABLES:  # else it is a table of another release
        title = str(row.data.get(TABLES[TableName(row.target_table)].title, ""))
    return {"path": row.unit_key, "table": row.target_table, "title": title}
