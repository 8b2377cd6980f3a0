"""Existing projects, tasks and judged titles of a device that a run shows to the model.

A run queries rows that items may refer to, such as projects and tasks, once. The call ids are fixed, and a
device answers a known id with its first answer. So the model is shown the same rows in the whole run, even
across crashes, and answered questions need not be asked again. Judged titles are shown in runs of agents that
learn and have no mailbox.
"""

from collections.abc import (
    Mapping,
)
from typing import Final

import msgspec

from hub.base.log import Channel
from hub.extraction.items import ExtractionOptions, JudgedTitle, Reference
from hub.links.device_link import DeviceLink
from hub.runs.item_ranks import rank_of
from hub.runs.run_order import RunOrder
from hub.text.folding import fold, shown
from protocol.capabilities import CapabilityName
from protocol.errors import DeliveryError, DeviceOffline, LinkLost
from protocol.frame import Record
from protocol.ids import traceparent
from protocol.items import Rank, binding
from protocol.tables import TABLES
from protocol.tool_calls import Action, ToolCall
from storage.runs.items import DAY_MS, ItemRow, Verdict, newest_judged
from storage.store import Store

log = Channel(__name__)

MAX_ROWS: Final = 50  # of all tables together: each title costs tokens in every question

MAX_JUDGED: Final = 8  # titles kept, and as many rejected: each costs tokens in every question

_VERDICTS: Final[Mapping[bool, tuple[Verdict, ...]]] = {True: ("approved", "edited"), False: ("rejected",)}

_TITLE_CHARS: Final = 120  # enough to recognize the row

_DEADLINE_MS: Final = 10_000  # without an answer by then, the run continues without references

_APPROVED: Final[Record] = {"isApproved": 1}  # a mere suggestion may be deleted soon


async def run_extraction_config(store: Store, link: DeviceLink | None, order: RunOrder) -> ExtractionOptions:
    """Return the extraction settings with what the model is shown in addition, the same in a whole run.

    These are the device's rows that items may refer to, none if it is disconnected; and titles that their
    owner has judged, if the agent learns from verdicts.
    """
    return msgspec.structs.replace(
        order.extraction_config,
        references=() if link is None else await references_of(link, order),
        judged=await judged_titles(store, order) if order.settings.learn else (),
    )


async def judged_titles(store: Store, order: RunOrder) -> tuple[JudgedTitle, ...]:
    """Return the newest titles that the owner of an agent has kept, and those that were rejected.

    Verdicts of the day of the run do not count, so that the questions of a day begin the same. Titles from
    text of others are left out, and marked items: their words may be orders to a machine.
    """
    if order.settings.mailbox is not None:
        return ()
    day = order.created_at - order.created_at % DAY_MS
    found: dict[tuple[bool, str], JudgedTitle] = {}
    for is_approved, verdicts in _VERDICTS.items():
        left = MAX_JUDGED
        for row in await store.read(newest_judged, order.user_id, order.agent_id, verdicts, day):
            table = order.extraction_config.tables.get(row.target_table)
            title = "" if table is None else " ".join(str(row.data.get(table.title) or "").split())
            key = is_approved, fold(title)
            if left and title and key not in found and _is_own(row):
                found[key] = JudgedTitle(row.target_table, title[:_TITLE_CHARS], is_approved)
                left -= 1
    return tuple(reversed(found.values()))  # the newest ones last, closest to the question


def _is_own(row: ItemRow) -> bool:
    """Return True if an item is in words of its owner or a known sender, and nothing in it is marked."""
    return not binding(row.warnings) and rank_of(row) > Rank.OTHERS


class _ShownRows(msgspec.Struct):
    rows: list[dict[str, object]]


async def references_of(link: DeviceLink, order: RunOrder) -> tuple[Reference, ...]:
    """Return the newest approved rows that items of *order* can refer to.

    The result is empty if the device does not list ``tool.query``. Tables for which the device returns an
    error or a malformed answer are left out.

    Raises:
        LinkLost, DeviceOffline: the connection ended.
    """
    columns = (column for name in order.settings.data_types for column in order.tables.of(name).columns)
    referred_to = {column.refers_to for column in columns}
    tables = [name for name in TABLES if name in referred_to]
    if not tables or CapabilityName.TOOL_QUERY not in link.capabilities:
        return ()
    found: list[Reference] = []
    for table in tables:
        try:
            found += await _newest(link, order, table, MAX_ROWS // len(tables))
        except (LinkLost, DeviceOffline):
            raise
        except (DeliveryError, msgspec.ValidationError) as exc:
            log.warning("references.unread", table=table, error=type(exc).__name__)
    return tuple(found)


async def _newest(link: DeviceLink, order: RunOrder, table: str, most: int) -> list[Reference]:
    title = TABLES[table].title
    call_id = f"{order.run_id}:references:{table}"
    answer = await link.call(
        ToolCall(
            id=call_id,
            action=Action.QUERY,
            table=table,
            where=_APPROVED,
            data={"newest_first": True, "fields": ["id", title]},
            limit=most,
            run_id=order.run_id,
            agent_id=order.agent_id,
            deadline_ms=_DEADLINE_MS,
            trace=traceparent(order.run_id, "tool_call", call_id),
        )
    )
    if answer.error is not None:
        log.warning("references.refused", table=table, code=answer.error.code)
        return []
    rows = msgspec.convert(answer.result, _ShownRows).rows
    found = [_reference(table, row.get("id"), row.get(title)) for row in rows[:most]]
    return [reference for reference in found if reference is not None]


def _reference(table: str, row_id: object, title: object) -> Reference | None:
    """Return a reference to a row, or None if the row lacks an id or a title."""
    if not isinstance(row_id, str) or not isinstance(title, str):
        return None
    text = " ".join(shown(title).split())[:_TITLE_CHARS]
    return Reference(table=table, id=row_id, title=text) if row_id and text else None
