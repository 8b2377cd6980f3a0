"""Fences of executing runs: writes of a process that lost its run are refused.

An executing run is held by the process that knows its fence. A move that ends the execution by force raises
the fence; later writes of the old holder are refused with ``StaleRun``.
"""

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from protocol.lifecycles import RunState
from storage.schema import EXECUTING, runs


class StaleRun(HubError):
    """Error: another process moved the run; nothing was written."""

    code = ErrorCode.STALE_RUN


class FencedRun(msgspec.Struct, frozen=True):
    """Run as its holder last read it; every move compares with it."""

    id: RunId
    state: RunState
    fence: int


is_held = (
    runs.c.id == sa.bindparam("run"),
    runs.c.fence == sa.bindparam("held"),
    # a run that left execution is no longer held, although its fence is unchanged
    sa.text("runs." + EXECUTING),
)
CHECK_HELD = sa.select(runs.c.id).where(*is_held).with_for_update()


def check_held(c: sa.Connection, held: FencedRun) -> None:
    """Check that the run executes under this fence, and lock it until the transaction ends.

    Raises:
        StaleRun: the run has another fence, or has ended.
    """
    if c.execute(CHECK_HELD, {"run": held.id, "held": held.fence}).one_or_none() is None:
        raise stale(held)


def stale(held: FencedRun) -> StaleRun:
    """Return the error for a holder that lost the run."""
    return StaleRun(f"run {held.id} is no longer held under fence {held.fence}")
