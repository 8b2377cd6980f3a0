"""Route of ``hub why``: what became of a file, or of a line, in which agents, within a time limit.

The agents are selected here, and a line is read from its path (``notes/monday.md:12``);
``hub.runs.file_explanations`` explains the file in each.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlencode

import anyio
import msgspec
from msgspec import Meta

from hub.api.agent_bodies import ids_called
from hub.api.binding import bad_request
from hub.api.peers import Peers, link_of
from hub.api.resource import (
    Caller,
    Resource,
    View,
    command,
    route,
    tool,
)
from hub.base.clock import Clock
from hub.base.printable import one_line
from hub.base.roles import Principal, Scope
from hub.cluster.messages import BusRequest, NodeUnreachable
from hub.links.roster import Roster
from hub.runs.file_explanations import Explainer, Reason
from protocol.errors import AtAnotherNode, CodedError, ErrorCode
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs.item_lists import ItemFilter, list_items
from storage.store import Connection, Store

MAX_EXAMINED: Final = 100  # agents, by name, among which those that know the file are looked up


MAX_LINE: Final = 999_999_999


MAX_AGENTS: Final = 5  # explained in one answer: each reads the file


MAX_ITEMS: Final = 3  # with words that are no path: each may be of another file


WITHIN_S: Final = 20.0  # for an answer; a command line waits for 30 s


_PLACE: Final = re.compile(r"(?P<path>.+?):(?P<line>[1-9]\d{0,8})")


_NO_PLACE: Final = re.compile(r".+\.\w{1,8}:([^./]*)")  # no line follows the ending of a file


# Of no use beside another agent's answer about the file; such is not one of those that could not look.
_ELSEWHERE: Final = ("missing", "no_message", "not_sent", "outside_paths", "outside_shared")


_UNKNOWN: Final = frozenset((*_ELSEWHERE, "other_extension"))  # then it may be words of an item


_NOT_LOOKED: Final = ("busy", "cannot_run", "device_away", "elsewhere", "not_granted")


def informative(found: Sequence[Sequence[Reason]]) -> Iterator[Reason]:
    """Yield the reasons of each agent, without those of files elsewhere if an agent looked at the file."""
    codes = {reasons[0].code for reasons in found}
    hidden: Collection[str] = _ELSEWHERE if codes.difference(_ELSEWHERE, _NOT_LOOKED) else ("no_message",)
    hidden = () if codes == {"no_message"} else hidden
    for reasons in found:
        if reasons[0].code not in hidden:
            yield from reasons


class Reasons(View):
    """Reasons by agent: first that of the file, then those of its lines, never with their words.

    *lines*: numbers, as in ``3, 7-9``; empty: the file. *code*: a stable word of ``hub help why``. *because*:
    the same as a sentence. *remedy*: how to change it. *judged*: of an item of a rule, its tier
    (``suggested``, ``unsure``, ``unlikely``), its probability, what weighed most, and the verdicts that moved
    it to another tier; of the file, the kind of document that it is taken for.
    """

    reasons: tuple[Reason, ...]


class WhyResource(Resource):
    """Explanations of files and sentences."""

    name, path = "why", "/v1/why"

    def __init__(
        self, store: Store, *, roster: Roster, explainer: Explainer, peers: Peers, clock: Clock
    ) -> None:
        self._store = store
        self._peers = peers
        self._roster = roster
        self._explainer = explainer
        self._clock = clock

    @command(
        "why PATH",
        example="hub why notes/monday.md:12",
        json="reasons",
        help="Show what became of a file or its lines, and why of others nothing did.",
        options={
            "agent": "Only of this agent.",
            "device": "Only of the agents of this device, by name or id.",
            "line": "Only of this line, as PATH:LINE is.",
        },
        rows="reasons",
        table=(
            "agent as agent?",
            "path as file",
            "lines as lines?",
            "title|short as title?",
            "found_by as found by?",
            "because as reason",
            "judged as judged?",
            "remedy as to change it",
        ),
    )
    @tool()
    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE])
    async def explain(
        self,
        caller: Caller,
        path: Annotated[
            str,
            Meta(
                min_length=1,
                max_length=4096,
                description="Of a file; ``:LINE`` may follow. Or words of an item.",
            ),
        ],
        line: Annotated[int, Meta(ge=1, le=MAX_LINE, description="Only this line; then ``path`` has none.")]
        | None = None,
        agent: Annotated[str, Meta(max_length=200)] | None = None,
        device: Annotated[str, Meta(max_length=200, description="A device's name or id.")] | None = None,
    ) -> Reasons:
        """Explain what became of a file in the agents that read it, of all its lines, one, or an item's.

        The device reads the file again; no model is asked, and nothing is written.
        """
        if line is None and (place := _PLACE.fullmatch(path)):
            path, line = place["path"], int(place["line"])
        elif line is None and (wrong := _NO_PLACE.fullmatch(path)):
            raise bad_request(
                [f"path: '{one_line(wrong[1])}' is no line of a file; lines are numbers from 1"]
            )

        def read(c: Connection) -> list[AgentRow]:
            at = self._now
            agent_id, device_id = ids_called(c, agent, device, user_id=self.user_id, at=at)
            if agent_id is not None:
                return [agents.get_agent(c, agent_id)]
            rows: list[AgentRow] = []
            page: list[AgentRow] = []
            while len(rows) < MAX_EXAMINED:
                after = (page[-1].name, page[-1].id) if page else None
                page = agents.list_agents(
                    c, user_id=self.user_id, device_id=device_id, limit=MAX_EXAMINED, after=after
                )
                rows += (row for row in page if row.data_types and not (row.missing_for_runs or row.gateway))
                if len(page) < MAX_EXAMINED:
                    break
            return rows[:MAX_EXAMINED]

        rows = await self._store.read(read)
        knowing = {row.id for row in rows if len(rows) > 1 and await self._explainer.known(row, path)}
        rows = sorted(rows, key=lambda row: row.id not in knowing)[:MAX_AGENTS]
        if not rows:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, "no agent reads files here; make one: hub help agents")
        found: list[list[Reason]] = []
        ends_at = anyio.current_time() + WITHIN_S
        for row in rows:  # a slow agent leaves the others their share
            within_s = (ends_at - anyio.current_time()) / (len(rows) - len(found))
            found.append(await self._explain(row, path, line, None if len(rows) == 1 else caller, within_s))
        codes = {reasons[0].code for reasons in found}
        if line is None and codes <= _UNKNOWN:
            found = await self._of_items(path, rows, caller, ends_at) or found
        return Reasons(tuple(informative(found)))

    async def _of_items(
        self, words: str, rows: Sequence[AgentRow], caller: Principal, ends_at: float
    ) -> list[list[Reason]]:
        """Return the reasons of the newest items of these agents that have *words* in a value."""
        chosen = ItemFilter(user_id=self.user_id, limits=self.limited_to, text=words)
        page = await self._store.read(list_items, chosen, limit=MAX_ITEMS)
        places = [(row, each.row) for each in page.items for row in rows if row.id == each.row.agent_id]
        found: list[list[Reason]] = []
        for row, item in places:
            within_s = (ends_at - anyio.current_time()) / (len(places) - len(found))
            every = await self._explain(row, item.unit_key, None, caller, within_s)
            found.append(every[:1] + [reason for reason in every[1:] if reason.item_id == item.id])
        return found

    async def _explain(
        self, row: AgentRow, path: str, line: int | None, caller: Principal | None, within_s: float
    ) -> list[Reason]:
        """Return the reasons of an agent; where its device is connected to another node, ask that one.

        Args:
            caller: of a request about several agents; None: about this one alone.

        Raises:
            AtAnotherNode: it is about this agent alone, so the other node answers it as a whole.
        """
        link, away = None, ""
        try:
            if row.device_id is not None:
                link = await link_of(self._store, self._roster, row.device_id, row.device_name or "")
        except AtAnotherNode as error:
            if caller is None:
                raise
            away = str(error)
            if self._peers.can_answer(error.boot_id):
                asked = {"path": path, "agent": row.id} | ({} if line is None else {"line": line})
                principal = msgspec.to_builtins(caller)
                request = BusRequest(
                    method="GET", path=self.path, query=urlencode(asked), body=b"", principal=principal
                )
                try:
                    reply = await self._peers.ask(error.boot_id, request, within_s)
                except NodeUnreachable as unreachable:
                    away = f"{away}: {unreachable}"
                else:
                    if reply.status == HTTPStatus.OK:
                        return [*msgspec.json.decode(reply.body, type=Reasons).reasons]
                    away = f"{away}, which answered {reply.status}"
        return await self._explainer.explain(row, path, line, link, within_s=within_s, away=away)
