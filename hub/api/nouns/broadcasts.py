"""Broadcasts: messages to the leads of many boards at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta

from hub.api.door.roles import AGENT, Scope
from hub.api.noun import ALL, Noun, Part, audited, command, listed, route
from hub.api.nouns.leads import MESSAGE_OPTIONS, LeadKindWord, LeadMessageBody, Wait
from hub.api.nouns.messages import SentView
from hub.api.paging import Paging, cursor_of
from hub.api.parameters import Key
from hub.api.view import View
from hub.clock import epoch_ms
from hub.coordination.authority import Caller
from hub.coordination.broadcasts import Broadcasts as BroadcastService
from hub.coordination.broadcasts import BroadcastStatus
from hub.coordination.messages import WAIT_S
from protocol.coordination import DELIVERED, MessageState
from protocol.errors import ErrorCode
from storage import audit
from storage.coordination.broadcasts import BoardResult, Refused
from storage.kernel.columns import Key as SortKey
from storage.store import Store

_E = ErrorCode
MOST_RESULTS: Final = 1_000  # in the response to the sender; the others are read by the broadcast's id
MOST_BROADCASTS: Final = 100  # in one page, as each may be long
MOST_NAMED: Final = 10_000  # boards in one request; the limit of a broadcast is boards_per_broadcast
_WAIT_HELP: Final = "Time to wait until all leads have received it."
ResultWord = Literal[
    "waiting",
    "sent",
    "accepted",
    "queued",
    "consumed",
    "answered",
    "interrupted",
    "failed",
    "expired",
    "refused",
]


class BroadcastResultView(View, kw_only=True):
    """The result of a broadcast at one board.

    *ok*: its lead has it. *code* and *error* say why not. Of an unknown board, *board_id* is missing, and
    *board* is the name from the request. A board that was refused got no message. *lead_agent_id* and
    *lead_agent_name* are *lead_id* and *lead*, as ``LeadMessageView`` names them.
    """

    board: str | None = None
    board_id: str | None = None
    ok: bool
    state: ResultWord
    lead: str | None = None
    lead_id: str | None = None
    lead_agent_id: str | None = None
    lead_agent_name: str | None = None
    lead_created: bool = False
    gateway: str | None = None
    message_id: str | None = None
    code: str | None = None
    error: str | None = None


class BroadcastView(SentView, kw_only=True):
    """A broadcast to the leads of boards, and how many of them have it.

    *ok*: all of them. *waiting* ones are being delivered, or will be once their gateway is connected;
    *failed* ones are not tried again until the broadcast is resumed. *rounds* counts how often it was
    sent. *gateway*: whose main agent sent it; none: a person.
    """

    gateway: str | None = None
    kind: LeadKindWord
    from_agent: str | None = None
    sent_by: str
    ok: bool
    boards: int
    sent: int
    failed: int
    waiting: int
    rounds: int


class BroadcastDetail(BroadcastView):
    """A broadcast with its results at boards; *next_cursor* leads to the other results."""

    results: tuple[BroadcastResultView, ...] = ()
    next_cursor: str | None = None


class BroadcastBody(LeadMessageBody):
    """A message to the leads of many boards. *boards*, or *board_ids*: names or ids; left out, all boards."""

    aliases: ClassVar = {"board_ids": "boards"}

    boards: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
            Meta(min_length=1, max_length=MOST_NAMED, examples=[["roadmap", "garden"]]),
        ]
        | None
    ) = None


def _key(broadcast: BroadcastView) -> SortKey:
    return epoch_ms(broadcast.created_at), broadcast.id


class Broadcasts(Noun):
    """Broadcasts of operators, and of the main agents of gateways.

    Args:
        why_away: why the gateway of this name cannot be reached just now; ``None``: it can.
    """

    name, path = "broadcasts", ""
    is_scoped = False

    def __init__(
        self, store: Store, sent: BroadcastService, *, why_away: Callable[[str], str | None]
    ) -> None:
        self._store = store
        self._broadcasts = sent
        self._why_away = why_away

    @command(
        "messages broadcast CONTENT...",
        example="hub messages broadcast 'Report by noon.' --board house",
        json="broadcast",
        help="Send a message to the leads of all boards, or of some.\n\nMessages that cannot be delivered now"
        " are delivered later: see hub messages broadcast-show.",
        options=MESSAGE_OPTIONS
        | {"boards": "--board: Only to this board; may be given several times.", "wait_s": _WAIT_HELP},
        message="{*|counts}: {id}{results|errors}",
        fails_if="failed",
    )
    @route("POST", "/v1/broadcasts", Scope.RUN, errors=[_E.LIMIT_REACHED], status=201)
    @route("POST", "/v1/agent/broadcasts", AGENT, errors=[_E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN], status=201)
    @audited("broadcast.sent")
    async def send(
        self, caller: Caller, body: BroadcastBody, wait_s: Wait = WAIT_S, key: Key = None
    ) -> BroadcastDetail:
        """Send a message to the leads of boards; of an agent, to those of its gateway.

        The response is sent once each lead has it or never will, or after *wait_s*: delivery goes on. An
        unknown board is reported among the results.
        """
        sent = await self._broadcasts.send(caller, body.message(key), body.boards, wait_s=wait_s)
        return await self._with_first_results(sent)

    @command(
        "messages broadcasts",
        example="hub messages broadcasts",
        json="broadcasts",
        help="List broadcasts, the newest first.",
        options={"limit": "--limit=20: Maximum number of broadcasts."},
        table=(
            "id|id as broadcast",
            "created_at|at as sent",
            "sent_by as from",
            "*|counts as result",
            "content|short as text",
        ),
        empty="no broadcasts",
    )
    @listed("/v1/broadcasts", Scope.READ, key=_key, most=MOST_BROADCASTS)
    @listed("/v1/agent/broadcasts", AGENT, key=_key, errors=[_E.NOT_GATEWAY_MAIN], most=MOST_BROADCASTS)
    async def page(self, caller: Caller, part: Part = ALL) -> list[BroadcastView]:
        """List broadcasts, the newest first; for the main agent of a gateway, its own."""
        found = await self._broadcasts.page(caller, limit=part.limit, after=part.after)
        named = await self._named(found)
        return [_view(one, named) for one in found]

    @route("GET", "/v1/broadcasts/{broadcast_id}", Scope.READ, errors=[_E.UNKNOWN_BROADCAST])
    @route(
        "GET",
        "/v1/agent/broadcasts/{broadcast_id}",
        AGENT,
        errors=[_E.UNKNOWN_BROADCAST, _E.NOT_GATEWAY_MAIN],
    )
    async def get(self, caller: Caller, paging: Paging, broadcast_id: str) -> BroadcastDetail:
        """Return a broadcast in its present state, with a page of its results at boards."""
        found = await self._broadcasts.get(caller, broadcast_id)
        rows = await self._broadcasts.results(found.row.id, after=paging.after, limit=paging.limit + 1)
        page = paging.fetched(rows, key=lambda one: (one.message_id,))
        refused = found.row.refused if paging.after is None else ()
        return await self._detail(found, refused, page.items, page.next_cursor)

    @command(
        "messages resume BROADCAST_ID",
        example="hub messages resume 4e21a9",
        json="broadcast",
        help="Send a broadcast again to the leads that have not received it.",
        ids="broadcast_id",
        options={"wait_s": _WAIT_HELP},
        message="{*|counts}: {id}{results|errors}",
        fails_if="failed",
    )
    @route(
        "POST",
        "/v1/broadcasts/{broadcast_id}/resume",
        Scope.RUN,
        errors=[_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED],
    )
    @route(
        "POST",
        "/v1/agent/broadcasts/{broadcast_id}/resume",
        AGENT,
        errors=[_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN],
    )
    @audited("broadcast.resumed")
    async def resume(self, caller: Caller, broadcast_id: str, wait_s: Wait = WAIT_S) -> BroadcastDetail:
        """Send a broadcast again to those leads that never got it. Leads that may have it get nothing."""
        return await self._with_first_results(
            await self._broadcasts.resume(caller, broadcast_id, wait_s=wait_s)
        )

    async def _with_first_results(self, found: BroadcastStatus) -> BroadcastDetail:
        rows = await self._broadcasts.results(found.row.id, limit=MOST_RESULTS + 1)
        first = rows[:MOST_RESULTS]
        cursor = cursor_of((first[-1].message_id,)) if len(rows) > MOST_RESULTS else None
        return await self._detail(found, found.row.refused, first, cursor)

    async def _detail(
        self,
        found: BroadcastStatus,
        refused: Sequence[Refused],
        rows: Sequence[BoardResult],
        cursor: str | None,
    ) -> BroadcastDetail:
        results = (*map(_refused, refused), *map(self._result, rows))
        view = _view(found, await self._named([found]))
        return BroadcastDetail.from_row(view, results=results, next_cursor=cursor)

    async def _named(self, found: Sequence[BroadcastStatus]) -> dict[str, str]:
        """Return the names of the senders."""
        return await self._store.read(audit.actor_names, {one.row.actor for one in found})

    def _result(self, found: BoardResult) -> BroadcastResultView:
        code, error = found.code, found.error
        if found.state is MessageState.WAITING and found.gateway is not None:
            away = self._why_away(found.gateway)
            if away is not None:
                code, error = str(ErrorCode.GATEWAY_UNREACHABLE), away
        return BroadcastResultView.from_row(
            found,
            lead_agent_id=found.lead_id,
            lead_agent_name=found.lead,
            ok=found.state in DELIVERED,
            code=code,
            error=error,
        )


def _refused(one: Refused) -> BroadcastResultView:
    return BroadcastResultView.from_row(one, board=one.board or one.given, ok=False, state="refused")


def _view(found: BroadcastStatus, named: Mapping[str, str]) -> BroadcastView:
    return BroadcastView.from_row(
        found.row,
        found.tally,
        sent_by=named[found.row.actor],
        ok=found.is_ok,
        # A message that is retried by hand, or that was not received after all, is on its way again.
        settled_at=None if found.tally.waiting else found.row.settled_at,
    )
