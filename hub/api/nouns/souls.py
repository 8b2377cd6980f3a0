"""Souls of the agents of a board: read and written where the agents live, by people and by agents."""

from typing import Annotated, Final

from fastapi import Path, Query, Response

from hub.api.deps import AnAgent, AnOperator, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.etags import Match, Matching
from hub.api.facade import HubFacade
from hub.api.paging import Paging
from hub.api.views.souls import SoulTextView, SoulVersionView, SoulView, SoulWriteView, WantedSoul
from hub.api.views.view import View
from hub.coordination.authority import Caller
from hub.coordination.souls import MOST_WAIT_S, WAIT_S
from protocol.errors import ErrorCode, HubError

_E = ErrorCode
_NOT_HERE: Final = (_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT, _E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN)
_NOT_ASKED: Final = (
    *(_E.NO_SESSION, _E.NO_GATEWAY),
    *(_E.GATEWAY_REFUSED, _E.GATEWAY_FORBIDDEN, _E.GATEWAY_INVALID),
    *(_E.GATEWAY_UNREACHABLE, _E.GATEWAY_TIMED_OUT),
    *(_E.DEVICE_OFFLINE, _E.DEVICE_GONE, _E.DEVICE_SLOW, _E.DEVICE_ERROR, _E.TOO_MANY_CALLS),
    *(_E.CALL_TIMED_OUT, _E.CALL_UNSUPPORTED),
)
_WRITES: Final = 5  # told with the history: what became of those that had no end when they were asked for
_SOUL: Final = "/v1/boards/{board}/agents/{agent}/soul"
_AGENTS_SOUL: Final = "/v1/agent/boards/{board}/agents/{agent}/soul"

router = NounRouter(tags=["souls"], responses=refusals(*_NOT_HERE))

_READ = refusals(*_NOT_HERE, *_NOT_ASKED)
_WRITE = refusals(*_NOT_HERE, *_NOT_ASKED, _E.SOUL_CONFLICT, _E.SOUL_BUSY)
_NONE = refusals(*_NOT_HERE, _E.UNKNOWN_SOUL_VERSION)
Number = Annotated[int, Path(ge=1, le=2**53 - 1)]
_Wait = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, description="So many seconds the answer waits for the soul to be there."),
]


class SoulHistory(View):
    """Some versions of a soul, the newest first, and the newest writes of it, whatever became of them."""

    versions: tuple[SoulVersionView, ...]
    writes: tuple[SoulWriteView, ...]
    next_cursor: str | None = None


class BadMatch(HubError):
    """The ``If-Match`` cannot be what a soul was read with."""

    code = ErrorCode.BAD_PARAMS


@router.get(_SOUL, responses=_READ)
async def get_soul(hub: WholeHub, caller: AnOperator, board: str, agent: str, match: Match) -> SoulView:
    """The SOUL.md of an agent, as it is now where the agent lives."""
    return await _get(hub, caller, board, agent, match)


@router.put(_SOUL, responses=_WRITE)
async def put_soul(
    hub: WholeHub,
    caller: AnOperator,
    board: str,
    agent: str,
    match: Match,
    wanted: WantedSoul,
    response: Response,
    wait_s: _Wait = WAIT_S,
) -> SoulWriteView:
    """Write the SOUL.md of an agent over the one that was read; 202: it waits, and goes on by itself."""
    return await _put(hub, caller, board, agent, match, wanted, response, wait_s)


@router.get(f"{_SOUL}/history")
async def soul_history(
    hub: WholeHub, caller: AnOperator, board: str, agent: str, paging: Paging
) -> SoulHistory:
    """Who wrote what into the SOUL.md of an agent, and what the hub found or could not write there."""
    return await _history(hub, caller, board, agent, paging)


@router.get(f"{_SOUL}/history/{{seq}}", responses=_NONE)
async def soul_version(
    hub: WholeHub, caller: AnOperator, board: str, agent: str, seq: Number
) -> SoulTextView:
    """A version of the SOUL.md of an agent, with its text."""
    return await hub.souls.version(caller, board, agent, seq)


@router.get(_AGENTS_SOUL, responses=_READ)
async def get_agent_soul(hub: WholeHub, caller: AnAgent, board: str, agent: str, match: Match) -> SoulView:
    """The SOUL.md of an agent of one's own board: any for the lead, its own for others."""
    return await _get(hub, caller, board, agent, match)


@router.put(_AGENTS_SOUL, responses=_WRITE)
async def update_agent_soul(
    hub: WholeHub,
    caller: AnAgent,
    board: str,
    agent: str,
    match: Match,
    wanted: WantedSoul,
    response: Response,
    wait_s: _Wait = WAIT_S,
) -> SoulWriteView:
    """Write the SOUL.md of an agent of one's own board, as its lead; 202: it waits, and goes on by itself."""
    return await _put(hub, caller, board, agent, match, wanted, response, wait_s)


@router.get(f"{_AGENTS_SOUL}/history")
async def agent_soul_history(
    hub: WholeHub, caller: AnAgent, board: str, agent: str, paging: Paging
) -> SoulHistory:
    """Who wrote what into the SOUL.md of an agent of one's own board."""
    return await _history(hub, caller, board, agent, paging)


@router.get(f"{_AGENTS_SOUL}/history/{{seq}}", responses=_NONE)
async def agent_soul_version(
    hub: WholeHub, caller: AnAgent, board: str, agent: str, seq: Number
) -> SoulTextView:
    """A version of the SOUL.md of an agent of one's own board, with its text."""
    return await hub.souls.version(caller, board, agent, seq)


async def _get(hub: HubFacade, caller: Caller, board: str, agent: str, match: Matching) -> SoulView:
    told = await hub.souls.get(caller, board, agent)
    match.tell(_tag(told.sha256))
    return told


async def _put(
    hub: HubFacade,
    caller: Caller,
    board: str,
    agent: str,
    match: Matching,
    wanted: WantedSoul,
    response: Response,
    wait_s: float,
) -> SoulWriteView:
    told = await hub.souls.put(caller, board, agent, _expecting(wanted, match), wait_s=wait_s)
    if told.state == "waiting":
        response.status_code = 202
    else:
        match.tell(_tag(told.sha256))
    return told


async def _history(hub: HubFacade, caller: Caller, board: str, agent: str, paging: Paging) -> SoulHistory:
    found = await hub.souls.history(caller, board, agent, limit=paging.limit + 1, below=paging.after_number())
    writes = await hub.souls.writes(caller, board, agent, limit=_WRITES)
    page = paging.fetched(found, key=lambda version: (version.seq,))
    return SoulHistory(versions=page.items, writes=tuple(writes), next_cursor=page.next_cursor)


def _tag(sha256: str | None) -> str:
    return f'"{sha256 or ""}"'


def _expecting(wanted: WantedSoul, match: Matching) -> WantedSoul:
    """*wanted*, with the hash that an ``If-Match`` names.

    Raises:
        BadMatch: it is none, or another one than the body's.
    """
    if match.given in (None, "*"):
        return wanted
    tag = str(match.given)
    sha256 = tag[1:-1]
    is_hash = len(sha256) == 64 and not set(sha256) - set("0123456789abcdef")
    if tag != f'"{sha256}"' or not (is_hash or not sha256):
        raise BadMatch("If-Match: has to be the one ETag with which the soul was read")
    if wanted.expected_sha256 not in (None, sha256):
        raise BadMatch("If-Match and expected_sha256 name two different texts")
    return wanted.model_copy(update={"expected_sha256": sha256})
