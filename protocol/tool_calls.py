"""Calls of the hub that change or read rows of a device, and their results."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from protocol.frame import (
    MAX_BATCH_CALLS,
    Count,
    ErrorBody,
    Frame,
    Id,
    Name,
    Record,
)
from protocol.items import ItemSource, RowReview
from protocol.tables import DeviceTable


class Action(StrEnum):
    """Operation of a call at the device."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    QUERY = "query"
    REVIEW_APPLY = "review.apply"  # a verdict that the owner gave elsewhere; see PROTOCOL.md
    FILE_GET = "file.get"
    FILE_PUT = "file.put"
    MESSAGE_DELIVER = "message.deliver"
    USER_ASK = "user.ask"
    BROWSER_OPEN = "browser.open"
    ROWS_LIST = "rows.list"  # rows that hubs wrote: see PROTOCOL.md, "Agreement about the past"
    ROWS_KNOWN = "rows.known"
    ROWS_AGENDA = "rows.agenda"  # approved tasks and events by their days; see PROTOCOL.md
    TABLE_DECLARE = "table.declare"  # of a table that is not built in; see PROTOCOL.md
    AGENT_WAKE = "agent.wake"  # a slot of an agent's calendar has begun; see PROTOCOL.md
    FILES_LIST = "files.list"  # shared files, for programs that the owner lets read them; see PROTOCOL.md
    FILES_READ = "files.read"
    PLACES_MANAGE = "places.manage"  # where approved rows go, if the owner grants it; see PROTOCOL.md


class ToolCall(Frame, frozen=True, kw_only=True, tag="tool_call"):
    """hub -> device: one operation, by default on one row of the device's own tables.

    Answered by exactly one ``tool_result`` with the same ``id``.
    """

    id: Id  # the idempotency key: the same after a crash or a lost answer
    action: Action
    table: Name | None = None
    data: Record = {}  # insert, update, review.apply: the fields to write; else the action's parameters
    where: Record = {}  # update, delete, query, review.apply: rows whose fields equal all of these
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100  # query: rows in the answer
    run_id: Id | None = None
    agent_id: Id | None = None
    source: ItemSource | None = None
    review: RowReview | None = None  # review.apply
    declares: DeviceTable | None = None  # table.declare
    deadline_ms: Count = 30_000  # how long the hub waits; of a run, since the device's last answer


class ToolResult(Frame, frozen=True, kw_only=True, tag="tool_result"):
    """device -> hub: the answer to a call. The id may also come as ``call_id``.

    Not answered. Late, unknown and repeated results are counted and dropped.
    """

    id: Id | None = None
    call_id: Id | None = None
    result: msgspec.Raw | UnsetType = UNSET  # decoded by the session, up to MAX_RESULT_BYTES
    error: ErrorBody | str | None = None
    counter: Count | None = None  # of the device's store, where the call changed a row


class ToolCalls(Frame, frozen=True, kw_only=True, tag="tool_calls"):
    """hub -> device: several calls on rows, each as in a ``tool_call`` of its own, in their order.

    Only to a device that lists the capability. Each call is answered by its ``id``, in ``tool_results`` or in
    a ``tool_result`` of its own.
    """

    calls: Annotated[list[ToolCall], Meta(min_length=1, max_length=MAX_BATCH_CALLS)]


class ToolResults(Frame, frozen=True, kw_only=True, tag="tool_results"):
    """device -> hub: several answers, each as in a ``tool_result`` of its own; together MAX_RESULT_BYTES.

    Not answered. A larger answer is sent as a ``tool_result``.
    """

    results: Annotated[list[ToolResult], Meta(min_length=1, max_length=MAX_BATCH_CALLS)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a device to a call, in any of its forms: a result, or an error.

    *counter*: the device's store counter for the call, if it changed a row.
    """

    result: Any = None
    error: ErrorBody | None = None
    counter: int | None = None
