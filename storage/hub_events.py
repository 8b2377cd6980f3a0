"""Events that people outside the hub are notified of, made out of the things that changed.

An event names things by id and name, and has no text of a document: it may go to a machine that is not the
operator's. Titles are added for targets that ask for them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import UserId
from protocol.lifecycles import FINAL_RUN_STATES
from protocol.tables import TABLES
from storage.changes import Change
from storage.kernel.columns import Int, in_parts, listed_keys
from storage.schema import agents, boards, devices, items, questions, runs


class HubEvent(msgspec.Struct, frozen=True):
    """Event at the hub.

    Attributes:
        subject: the thing that it is about; a target gets the events of one in their order.
        key: distinguishes the event from others of its name and subject.
        at: when it happened, epoch milliseconds.
    """

    event: str
    subject: str
    key: str
    user_id: UserId | None
    at: int
    data: dict[str, Any]


_since = sa.bindparam("since", type_=Int)
_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_OF_RUN: Final = ("id", "agent_id", "state", "outcome", "items_created", "completed_at")
# By its call, an approval that a device reports again to a restored hub is the same event.
_OF_ITEM: Final = (
    *("id", "call_id", "target_table", "verdict", "verdict_at", "run_id", "agent_id", "user_id", "data"),
)
ENDED: Final = (
    sa.select(*(runs.c[name] for name in _OF_RUN), agents.c.name.label("agent"), agents.c.user_id)
    .join_from(runs, agents, agents.c.id == runs.c.agent_id)
    .where(runs.c.id.in_(_ids), runs.c.completed_at >= _since, runs.c.state.in_(sorted(FINAL_RUN_STATES)))
)
OPEN: Final = (
    sa.select(items.c.run_id, sa.func.count().label("count"))
    .where(items.c.run_id.in_(_ids), items.c.verdict == "open", listed_keys(items))
    .group_by(items.c.run_id)
)
APPROVED: Final = (
    sa.select(*(items.c[name] for name in _OF_ITEM), agents.c.name.label("agent"))
    .join_from(items, agents, agents.c.id == items.c.agent_id, isouter=True)
    .where(items.c.id.in_(_ids), items.c.verdict_at >= _since, items.c.verdict.in_(("approved", "edited")))
)
ASKED: Final = (
    sa.select(questions, boards.c.name.label("board"))
    .join_from(questions, boards, boards.c.id == questions.c.board_id, isouter=True)
    .where(questions.c.id.in_(_ids), questions.c.created_at >= _since)
)


def derive_events(
    c: sa.Connection, changed: Iterable[Change], *, since: int, has_titles: bool
) -> list[HubEvent]:
    """Return the events of runs, items and questions that changed, in the order of their times.

    Args:
        since: epoch milliseconds; earlier events are left out.
        has_titles: also with titles of items and the words of questions.
    """
    ids: dict[str, list[str]] = {"run": [], "item": [], "question": []}
    for one in changed:
        ids.get(one.kind, []).append(one.subject)
    found: list[HubEvent] = []
    for make, kind in ((_of_runs, "run"), (_of_items, "item"), (_of_questions, "question")):
        for part in in_parts(ids[kind]):
            found += make(c, part, since, has_titles)
    return sorted(found, key=lambda one: one.at)


def _of_runs(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    waiting = {row.run_id: row.count for row in c.execute(OPEN, {"ids": ids})}
    for row in c.execute(ENDED, {"ids": ids, "since": since}).all():
        about = {"run_id": row.id, "agent_id": row.agent_id, "agent": row.agent}
        ended = about | {"state": row.state, "outcome": row.outcome, "items": row.items_created}
        subject, key = f"run:{row.id}", f"{row.completed_at}"
        yield HubEvent(f"run.{row.state.lower()}", subject, key, row.user_id, row.completed_at, ended)
        if count := waiting.get(row.id):
            about |= {"count": count}
            yield HubEvent("items.waiting", subject, key, row.user_id, row.completed_at, about)


def _of_items(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    for row in c.execute(APPROVED, {"ids": ids, "since": since}).all():
        about = {"item_id": row.id, "table": row.target_table, "verdict": row.verdict, "run_id": row.run_id}
        about |= {"agent_id": row.agent_id, "agent": row.agent}
        if has_titles and (table := TABLES.get(row.target_table)) is not None:
            about["title"] = row.data.get(table.title)
        yield HubEvent(
            "item.approved",
            f"item:{row.id}",
            f"{row.call_id} {row.verdict}",
            row.user_id,
            row.verdict_at,
            about,
        )


def _of_questions(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    for row in c.execute(ASKED, {"ids": ids, "since": since}).all():
        about = {"question_id": row.id, "board": row.board, "expires_at": row.expires_at}
        if has_titles:
            about["title"] = row.content
        yield HubEvent("question.asked", f"question:{row.id}", "", row.user_id, row.created_at, about)


def name_of_subject(c: sa.Connection, issue: str, subject: str) -> dict[str, str]:
    """Return the name of the agent or device that an issue is about, if it is about one."""
    for kind, table in (("agent", agents), ("device", devices)):
        if issue.startswith(f"{kind}."):
            name = c.execute(sa.select(table.c.name).where(table.c.id == subject)).scalar_one_or_none()
            return {} if name is None else {kind: name, f"{kind}_id": subject}
    return {}
