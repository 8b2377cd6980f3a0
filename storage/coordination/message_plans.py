"""Messages of a mailbox run: planned, failed or left out, with the record of seen messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from protocol.ids import AgentId
from storage.connectors import seen_messages
from storage.connectors.seen_messages import State
from storage.runs.items import Decide, FoundItem
from storage.runs.plans import ItemCaps, UnitPlan, plan_unit
from storage.runs.run_progress import advance, check_held
from storage.runs.run_rows import HeldRun
from storage.runs.units import fail_unit


def plan_message(
    c: sa.Connection,
    held: HeldRun,
    agent_id: AgentId,
    *,
    unit_key: str,
    seen_keys: Sequence[str],
    version: str,
    is_whole: bool,
    content_hash: str,
    size_bytes: int | None,
    found: Sequence[FoundItem],
    decide: Decide,
    at: int,
    read_at: int | None = None,
    notes: Mapping[str, Any] | None = None,
    caps: ItemCaps | None = None,
) -> UnitPlan:
    """Plan a mailbox message like ``plan_unit``, and record it as seen.

    Args:
        seen_keys: keys that identify the message from now on, its own key first.
        version: version of its content, which may change under the same key.
        is_whole: false if a part could not be read: the next run reads it again and adds the missing items.

    Raises:
        StaleRun, IllegalTransition, Conflict: as ``plan_unit``; nothing was written.
    """
    plan = plan_unit(
        c,
        held,
        unit_key=unit_key,
        content_hash=content_hash,
        size_bytes=size_bytes,
        found=found,
        decide=decide,
        at=at,
        read_at=read_at,
        notes=notes,
        caps=caps,
    )
    about: dict[str, Any] = {"version": version, "run_id": held.id, "at": at}
    if is_whole:
        for key in seen_keys:
            seen_messages.note_seen(c, agent_id, key, "planned", **about)
    else:
        seen_messages.note_failed(c, agent_id, seen_keys[0], reason="incomplete", **about)
    return plan


def fail_message(
    c: sa.Connection,
    held: HeldRun,
    agent_id: AgentId,
    *,
    unit_key: str,
    seen_key: str,
    version: str,
    subject: str,
    content_hash: str,
    size_bytes: int | None,
    error: str,
    code: str,
    is_its_fault: bool,
    is_final: bool = False,
    at: int,
) -> State:
    """Fail a mailbox message like ``fail_unit``. After the third run it is dead, and the cursor may pass it.

    Args:
        is_its_fault: false if a budget, a limit or another run prevented it: retries are unlimited.
        is_final: no run can ever read it: it is dead at once, with *error* as reason.

    Raises:
        StaleRun, StillOpen, IllegalTransition: as ``fail_unit``; nothing was written.
    """
    fail_unit(
        c,
        held,
        unit_key=unit_key,
        content_hash=content_hash,
        size_bytes=size_bytes,
        error=error,
        code=code,
        at=at,
    )
    return seen_messages.note_failed(
        c,
        agent_id,
        seen_key,
        version=version,
        subject=subject,
        run_id=held.id,
        reason=error if is_final else code,
        at=at,
        counts=is_its_fault,
        is_final=is_final,
    )


def leave_out(
    c: sa.Connection, held: HeldRun, agent_id: AgentId, messages: Sequence[tuple[str, str, str]], at: int
) -> None:
    """Record these messages (key, version, reason) as left out, and count them as skipped.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    seen_messages.note_left_out(c, agent_id, messages, run_id=held.id, at=at)
    advance(c, held, at=at, skipped=len(messages))
