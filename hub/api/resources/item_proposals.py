"""Routes of proposed verdicts: a reader suggests a verdict on an item, its owner decides."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from hub.api.resource import Actor, Resource, View, audited, route, tool
from hub.api.resources.items import MAX_VERDICTS, VerdictError, error_of, with_stored_values
from hub.base.clock import Clock, IdFactory
from hub.base.printable import typed_problem
from hub.base.roles import BY_ALL, Scope
from hub.runs.verdict_checks import problem_with
from protocol.errors import ErrorCode, HubError
from protocol.ids import CallId
from protocol.tables import Tables
from storage.runs import item_proposals, item_verdicts
from storage.runs.item_proposals import ProposalRow, ProposalState, ProposedVerdict
from storage.runs.item_verdicts import NewVerdict
from storage.runs.items import ItemRow
from storage.store import Store

MAX_REASON = 500
_Id = Annotated[str, Meta(max_length=200)]


class NewProposalView(View):
    """Proposal of a verdict on the item *item*, as ``NewVerdictView`` has it.

    *why*: its reason, a text of 1 to 500 characters that its owner reads.
    """

    item: _Id
    verdict: ProposedVerdict
    why: str
    data: dict[str, Any] = {}
    version: Annotated[int, Meta(ge=1)] | None = None


class NewProposalsView(View):
    """Proposals to make; the owners of the items decide about them."""

    proposals: Annotated[list[NewProposalView], Meta(max_length=MAX_VERDICTS)]


class ProposalIds(View):
    """Ids of proposals."""

    proposals: Annotated[list[_Id], Meta(max_length=MAX_VERDICTS)]


class ProposalResult(View):
    """Result for a proposal: its *id* and state, or an error. *item*: null with an unknown id."""

    item: str | None = None
    id: str | None = None
    state: ProposalState | None = None
    error: VerdictError | None = None


class ProposalResults(View):
    """Results for proposals, in the order of the request."""

    results: tuple[ProposalResult, ...]


class ItemProposalsResource(Resource):
    """Proposals of verdicts on items."""

    name, path, within = "proposals", "/v1/items/proposals", BY_ALL

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, tables: Callable[[], Tables]) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tables = tables  # returns the declarations in use

    @tool()
    @route("POST", "", Scope.READ)
    @audited("item.proposed")
    async def propose(self, given: NewProposalsView, actor: Actor) -> ProposalResults:
        """Propose verdicts on items to their owners; nothing else happens until an owner accepts them.

        Each is checked as a verdict is. A proposer has one open proposal on an item, a newer one replaces it,
        and 1,000 in all; an item has 5. A proposal is withdrawn when its item changes or gets a verdict.
        """
        new = [
            NewVerdict(
                id=CallId(self._ids.fresh()),
                item_id=proposal.item,
                verdict=proposal.verdict,
                data=proposal.data,
                version=proposal.version,
            )
            for proposal in given.proposals
        ]
        tables = self._tables()
        why = {proposal.id: view.why for proposal, view in zip(new, given.proposals, strict=True)}

        def check(item: ItemRow, one: NewVerdict) -> str | None:
            return _problem_with_reason(why[one.id]) or problem_with(item, one, tables)

        results = await self._store.write(
            item_verdicts.propose,
            new,
            why,
            user_id=self.user_id,
            limits=self.limited_to,
            actor=actor,
            at=self._now,
            check=check,
            read=partial(with_stored_values, tables),
        )
        return ProposalResults(
            results=tuple(
                _result(result, "open", item=proposal.item_id)
                for proposal, result in zip(new, results, strict=True)
            )
        )

    @tool(is_repeatable=True)
    @route("DELETE", "/{proposal_id}", Scope.READ, errors=[ErrorCode.UNKNOWN_ITEM])
    @audited("item.proposal_withdrawn")
    async def withdraw(self, proposal_id: _Id, actor: Actor) -> ProposalResult:
        """Withdraw a proposal of your own."""
        (result,) = await self._close([proposal_id], "withdrawn", actor)
        if isinstance(result, HubError):
            raise result
        return _result(result, "withdrawn")

    @route("POST", "/declined", Scope.REVIEW, within=())
    @audited("item.proposal_declined")
    async def decline(self, given: ProposalIds, actor: Actor) -> ProposalResults:
        """Refuse proposals, as the owner of their items, which go on waiting."""
        results = await self._close(given.proposals, "declined", actor)
        return ProposalResults(results=tuple(_result(result, "declined") for result in results))

    async def _close(self, ids: Sequence[str], state: Any, actor: str) -> list[ProposalRow | HubError]:
        return await self._store.write(
            item_proposals.close,
            ids,
            state,
            user_id=self.user_id,
            actor=actor,
            at=self._now,
        )


def _problem_with_reason(why: str) -> str | None:
    """Return why a text is no reason that its reader sees, or None."""
    problem = typed_problem(why, MAX_REASON, blanks="\n\t")
    if not problem and not any(char.isprintable() and not char.isspace() for char in why):
        problem = "has no visible character"
    return f"why: {problem}" if problem else None


def _result(result: ProposalRow | HubError, state: ProposalState, item: str | None = None) -> ProposalResult:
    if isinstance(result, HubError):
        return ProposalResult(item=item, error=error_of(result))
    return ProposalResult(item=result.item_id, id=result.id, state=state)
