"""Traces of runs: the parts of a run that took time, as spans."""

from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, command, listed
from hub.api.nouns.runs import run_named
from hub.api.view import Instant, View
from hub.clock import epoch_ms
from hub.runs.budget import NANOS
from protocol.errors import ErrorCode
from storage.runs.spans import KINDS, Span, SpanKind, list_spans
from storage.store import Connection, Store


class SpanView(View, kw_only=True):
    """Part of a run that took time; *parent*: the id of the span that it is part of.

    A run has a span of its own, and one for each state and each file. A file has spans of its questions to
    models and its calls to the device. *ended_at* is missing while it goes on.
    *read_at*, *planned_at*: of a file, as in the run's details. *sends*: times that a question or a call was
    sent. *items*: calls that the file led to. *ref*: its id in its kind.
    """

    id: str
    parent: str | None = None
    kind: SpanKind
    name: str
    path: str | None = None
    outcome: str | None = None
    started_at: Instant
    ended_at: Instant | None = None
    read_at: Instant | None = None
    planned_at: Instant | None = None
    items: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    sends: int | None = None
    ref: str


class Traces(Noun):
    """Traces of runs. The id of a trace is ``trace_id`` of its run, which frames and logs bear."""

    name, list_key, path = "traces", "spans", "/v1/runs"

    def __init__(self, store: Store) -> None:
        self._store = store

    @command(
        "runs trace RUN_ID",
        example="hub runs trace 4e21a9",
        json="spans",
        help="List what took time in a run: states, files, questions to models, calls to the device.",
        options={"limit": "--limit=200: Maximum number of parts."},
        table=(
            "started_at|moment as at",
            "*|span_took as took",
            "kind",
            "name",
            "path as file",
            "outcome",
        ),
        empty="nothing has happened yet",
    )
    @listed("/{run_id}/trace", Scope.READ, key=lambda span: _key(span), errors=[ErrorCode.UNKNOWN_RUN])
    async def spans(self, run_id: str, part: Part = ALL) -> list[SpanView]:
        """List the spans of a run in the order of their beginnings."""

        def read(c: Connection) -> list[Span]:
            run = run_named(c, run_id, self.user_id)
            return list_spans(c, run.id, limit=part.limit, after=part.after)

        return [
            SpanView.from_row(
                span,
                path=span.unit_key,
                usd=None if span.cost_nanos is None else span.cost_nanos / NANOS,
            )
            for span in await self._store.read(read)
        ]


def _key(span: SpanView) -> tuple[int, int, str]:
    return epoch_ms(span.started_at), KINDS.index(span.kind), span.ref
