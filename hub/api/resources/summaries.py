"""Route of the summary since a person last looked: counts of runs, items, questions and costs."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final

from msgspec import Meta

from hub.api.resource import (
    Instant,
    Resource,
    ResourceRegistry,
    View,
    command,
    route,
    tool,
)
from hub.api.resources.issues import IssueCounts, IssuesResource
from hub.base.clock import Clock, epoch_ms
from hub.base.roles import Scope
from hub.base.toml.limits import NANOS
from protocol.ids import UserId
from protocol.lifecycles import EXECUTING_RUN_STATES, LIVE_RUN_STATES, RunOutcome, RunState
from storage.coordination import questions
from storage.devices import pairings
from storage.runs import items, model_calls, runs
from storage.runs.items import VERDICTS
from storage.store import Connection, Store

LATELY: Final = timedelta(days=1)


MAX_COUNTED: Final = 1_000  # of each kind, in the order of an index


MAX_CALLS: Final = 10_000  # of models, whose costs are summed up


class RunCounts(View):
    """Numbers of runs that were created in the time, by how they ended; *waiting*: all that have not."""

    success: int
    partial: int
    failed: int
    cancelled: int
    waiting: int


class ItemCounts(View):
    """Numbers of items found, approved or edited, and rejected in the time; *waiting*: all open ones."""

    found: int
    approved: int
    rejected: int
    waiting: int


class QuestionCounts(View):
    """Number of questions asked in the time, and of all open ones."""

    asked: int
    open: int


class SpentView(View):
    """Costs of models in the time. *is_part*: of so many calls that only a part of them is summed up."""

    requests: int
    usd: float
    is_part: bool = False


class SummaryView(View):
    """Summary of the time from *since* until *until*. A number of 1,000 means that there may be more.

    *pairings*: devices that wait to be let in; *issues*: those that began in the time.
    """

    since: Instant
    until: Instant
    runs: RunCounts
    items: ItemCounts
    questions: QuestionCounts
    pairings: int
    issues: IssueCounts
    costs: SpentView


class SummariesResource(Resource):
    """Summaries of what happened, made from the other resources of the hub."""

    name, path = "summary", "/v1/summary"

    def __init__(self, hub: ResourceRegistry, store: Store, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock

    @command(
        "summary",
        example="hub summary --since 'yesterday 18:00'",
        json="summary",
        help="Show what happened since a time: runs, items, questions and costs.",
        options={"since": "--since=24h: What happened from then on."},
        facts=(
            "since|moment",
            "runs|tally as runs",
            "items|tally as items",
            "questions|tally as questions",
            "pairings|at_most as devices that wait",
            "issues|issue_counts as new issues",
            "costs.requests as model requests",
            "costs.usd|usd as USD",
        ),
    )
    @tool()
    @route("GET", "", Scope.READ)
    async def get(
        self,
        since: Annotated[Instant, Meta(description="24 hours ago by default.")] | None = None,
    ) -> SummaryView:
        """Count runs, items, questions, pairings, issues and costs of the time since then."""
        until = self._clock.now()
        begin: datetime = since or until - LATELY
        at, user_id = epoch_ms(begin), self.user_id
        issues = await self._hub.resource(IssuesResource, user_id).counts(since=begin)

        def read(c: Connection) -> SummaryView:
            usage, calls = model_calls.newest_costs(c, MAX_CALLS, since=at, user_id=user_id)
            waiting = [] if user_id else pairings.list_pairings(c, at=epoch_ms(until), limit=MAX_COUNTED)
            return SummaryView(
                since=begin.astimezone(UTC),
                until=until,
                runs=_runs(c, at, user_id),
                items=_items(c, at, user_id),
                questions=QuestionCounts(
                    asked=questions.count_questions(c, MAX_COUNTED, since=at, user_id=user_id),
                    open=questions.count_questions(c, MAX_COUNTED, user_id=user_id),
                ),
                pairings=len(waiting),
                issues=issues,
                costs=SpentView(
                    requests=usage.requests, usd=usage.cost_nanos / NANOS, is_part=calls == MAX_CALLS
                ),
            )

        return await self._store.read(read)


def _runs(c: Connection, since: int, user_id: UserId | None) -> RunCounts:
    def count(outcome: RunOutcome | None = None, states: set[RunState] | None = None) -> int:
        return runs.count_runs(c, MAX_COUNTED, outcome=outcome, states=states, since=since, user_id=user_id)

    live = runs.count_live(c, user_id=user_id)
    return RunCounts(
        success=count(RunOutcome.SUCCESS),
        partial=count(RunOutcome.PARTIAL),
        failed=count(RunOutcome.ERROR),
        cancelled=count(states={RunState.CANCELLED}),
        waiting=sum(live.get(state, 0) for state in LIVE_RUN_STATES - EXECUTING_RUN_STATES),
    )


def _items(c: Connection, since: int, user_id: UserId | None) -> ItemCounts:
    count = partial(items.count_with_verdicts, c, most=MAX_COUNTED, user_id=user_id)
    return ItemCounts(
        found=count(verdicts=VERDICTS, found_since=since),
        approved=count(verdicts=("approved", "edited"), decided_since=since),
        rejected=count(verdicts=("rejected",), decided_since=since),
        waiting=count(verdicts=("open",)),
    )
