"""Routes of agents' souls (SOUL.md): read, write, history; by people and by agents of a board."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from hub.api.binding import ResponseHead
from hub.api.resource import IfMatch, Instant, Match, Paging, Resource, View, audited, route
from hub.base.roles import AGENT, Scope
from hub.coordination.board_access import Caller
from hub.coordination.souls import MAX_WAIT_S, WAIT_S, SoulRequest, SoulService
from protocol.coordination import SoulWriteState
from protocol.errors import CodedError, ErrorCode

_E = ErrorCode
_UNREACHABLE: Final = (
    *(_E.NO_SESSION, _E.NO_GATEWAY),
    *(_E.GATEWAY_REFUSED, _E.GATEWAY_FORBIDDEN, _E.GATEWAY_INVALID),
    *(_E.GATEWAY_UNREACHABLE, _E.GATEWAY_TIMED_OUT),
    *(_E.DEVICE_OFFLINE, _E.DEVICE_GONE, _E.DEVICE_SLOW, _E.DEVICE_ERROR, _E.TOO_MANY_CALLS),
    *(_E.CALL_TIMED_OUT, _E.CALL_UNSUPPORTED),
)
_WRITING: Final = (*_UNREACHABLE, _E.SOUL_CONFLICT, _E.SOUL_BUSY)
_WRITES: Final = 5  # in the history: they show how the latest writes ended that were left waiting
_SOUL: Final = "/v1/boards/{board}/agents/{agent}/soul"
_AGENTS_SOUL: Final = "/v1/agent/boards/{board}/agents/{agent}/soul"
_HISTORY: Final = "/history"
_VERSION: Final = "/history/{seq}"

Number = Annotated[int, Meta(ge=1, le=2**53 - 1)]
_Wait = Annotated[
    float,
    Meta(ge=0, le=MAX_WAIT_S, description="So many seconds the answer waits for the soul to be there."),
]
# In the example: of the text "test".
Hash = Annotated[
    str,
    Meta(
        pattern=r"^([0-9a-f]{64})?$(?!\n)",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
KindWord = Literal["written", "seen", "refused"]


class SoulWriteView(View, kw_only=True):
    """A write of a soul, and its state.

    *waiting*: it is stored here and goes on by itself; *reason_code* and *problem* say why it waits.
    *done*: the other side has it. *conflict*: the text had been changed there to that of *found_sha256*.
    *failed*: it was given up, and *problem* says why. The text of a failed write is in the history.
    """

    id: str
    state: SoulWriteState
    sha256: str
    expected_sha256: str | None  # of the text that it replaces; "": there was none
    found_sha256: str | None = None
    sends: int
    reason_code: str | None = None
    problem: str | None = None
    reason: str | None = None
    source_url: str | None = None
    actor: str
    correlation_id: str | None = None
    trace_id: str
    created_at: Instant
    settled_at: Instant | None = None


class SoulView(View):
    """The soul of an agent as it is now where the agent lives.

    *sha256*: of its text, and the ``ETag``; None: there is none. *open_write*: the write that is not settled.
    """

    agent: str
    gateway: str | None  # where it lives: on a gateway,
    device: str | None  # or on a device
    content: str
    sha256: str | None
    size_bytes: int
    updated_at: Instant | None
    open_write: SoulWriteView | None


class SoulVersionView(View):
    """A version of a soul, without its text.

    *written*: by a write of this hub. *seen*: written by others, and found by the hub where *actor*
    says. *refused*: a write that failed, kept so that its text is not lost.
    """

    seq: int
    kind: KindWord
    sha256: str
    size_bytes: int
    write_id: str | None
    actor: str
    reason: str | None
    source_url: str | None
    at: Instant


class SoulTextView(SoulVersionView, kw_only=True):
    """A version of a soul with its text."""

    content: str


class NewSoul(View):
    """The text to write into a soul.

    *expected_sha256*, or ``If-Match``: of the text that it is to replace; "": there must be none yet.
    Without it, it replaces the text that the hub finds, unless that changes between its read and its write.
    """

    content: str
    expected_sha256: Hash | None = None
    reason: Annotated[str, Meta(max_length=1_000)] | None = None
    source_url: Annotated[str, Meta(max_length=2_000)] | None = None
    correlation_id: Annotated[str, Meta(max_length=128)] | None = None


class SoulHistory(View):
    """Versions of a soul, the newest first, and the newest writes of it, in any state."""

    versions: tuple[SoulVersionView, ...]
    writes: tuple[SoulWriteView, ...]
    next_cursor: str | None = None


class SoulsResource(Resource):
    """Souls of the agents of a board, and of the main agent of its gateway."""

    name, path = "souls", ""
    errors = (_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT, _E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN)
    is_scoped = False

    def __init__(self, souls: SoulService) -> None:
        self._souls = souls

    @route("GET", _SOUL, Scope.READ, errors=_UNREACHABLE)
    @route("GET", _AGENTS_SOUL, AGENT, errors=_UNREACHABLE)
    async def get(self, caller: Caller, board: str, agent: str, match: Match) -> SoulView:
        """Return the SOUL.md of an agent, as it is now where the agent lives.

        The lead of a board may read those of all its agents, any other agent its own.
        """
        sight = await self._souls.read(caller, board, agent)
        soul, place = sight.soul, sight.place
        content = "" if soul is None else soul.content
        sha256 = None if soul is None else soul.sha256
        match.set_tag(_tag(sha256))
        return SoulView.from_row(
            place,
            device=place.device if place.gateway is None else None,
            content=content,
            sha256=sha256,
            size_bytes=len(content.encode()),
            updated_at=None if soul is None else soul.updated_at,
            open_write=None if sight.open_write is None else SoulWriteView.from_row(sight.open_write),
        )

    @route("PUT", _SOUL, Scope.RUN, errors=_WRITING, also=[202])
    @route("PUT", _AGENTS_SOUL, AGENT, errors=_WRITING, also=[202])
    @audited("soul.updated", is_noted=True)
    async def put(
        self,
        caller: Caller,
        board: str,
        agent: str,
        match: Match,
        requested: NewSoul,
        head: ResponseHead,
        wait_s: _Wait = WAIT_S,
    ) -> SoulWriteView:
        """Write the SOUL.md of an agent over the one that was read. Of agents, for the board's lead.

        The status is 202 where the write still waits after *wait_s*; it goes on by itself.
        """
        request = SoulRequest(
            content=requested.content,
            expected_sha256=_expected(requested, match),
            reason=_stripped(requested.reason),
            source_url=_stripped(requested.source_url),
            correlation_id=_stripped(requested.correlation_id),
        )
        row = await self._souls.write(caller, board, agent, request, wait_s=wait_s)
        written = SoulWriteView.from_row(row)
        if written.state is SoulWriteState.WAITING:
            head.status = 202
        else:
            match.set_tag(_tag(written.sha256))
        return written

    @route("GET", _SOUL + _HISTORY, Scope.READ)
    @route("GET", _AGENTS_SOUL + _HISTORY, AGENT)
    async def history(self, caller: Caller, board: str, agent: str, paging: Paging) -> SoulHistory:
        """List the versions of an agent's SOUL.md, the newest first, and its latest writes."""
        found = await self._souls.history(caller, board, agent, limit=paging.limit + 1, after=paging.after)
        writes = await self._souls.writes(caller, board, agent, limit=_WRITES)
        page = paging.fetched(found, key=lambda version: (version.seq,))
        return SoulHistory(
            versions=tuple(map(SoulVersionView.from_row, page.items)),
            writes=tuple(map(SoulWriteView.from_row, writes)),
            next_cursor=page.next_cursor,
        )

    @route("GET", _SOUL + _VERSION, Scope.READ, errors=[_E.UNKNOWN_SOUL_VERSION])
    @route("GET", _AGENTS_SOUL + _VERSION, AGENT, errors=[_E.UNKNOWN_SOUL_VERSION])
    async def version(self, caller: Caller, board: str, agent: str, seq: Number) -> SoulTextView:
        """Return a version of an agent's SOUL.md, with its text."""
        version, content = await self._souls.version(caller, board, agent, seq)
        return SoulTextView.from_row(version, content=content)


def _tag(sha256: str | None) -> str:
    return f'"{sha256 or ""}"'


def _expected(requested: NewSoul, match: IfMatch) -> str | None:
    """Return the hash of the text to replace, as the body or an ``If-Match`` gives it.

    Raises:
        CodedError: the ``If-Match`` is not a hash, or differs from that of the body.
    """
    if match.given in (None, "*"):
        return requested.expected_sha256
    tag = str(match.given)
    sha256 = tag[1:-1]
    is_hash = len(sha256) == 64 and not set(sha256) - set("0123456789abcdef")
    if tag != _tag(sha256) or not (is_hash or not sha256):
        raise CodedError(
            ErrorCode.BAD_PARAMS, "If-Match: has to be the one ETag with which the soul was read"
        )
    if requested.expected_sha256 not in (None, sha256):
        raise CodedError(ErrorCode.BAD_PARAMS, "If-Match and expected_sha256 name two different texts")
    return sha256


def _stripped(text: str | None) -> str | None:
    return (text or "").strip() or None
