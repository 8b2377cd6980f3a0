"""Runs: made, claimed, moved, told of.

The door to four modules: ``run_rows`` (what a run is, and reading it),
``run_moves`` (making and moving), ``run_claims`` (taking from the queue, and taking
back) and ``run_progress`` (counters and errors).

A run that executes is held by whoever knows its fence. A move that ends the
holding by force raises the fence, and what the old holder still writes is refused
with ``StaleRun``.
"""

from storage.run_claims import Recovered, claim_run, recover
from storage.run_moves import (
    AttemptsSpent,
    OpenWork,
    awaited_devices,
    create_run,
    move,
    paused_for,
    request_cancel,
)
from storage.run_progress import note_progress, record_error
from storage.run_rows import (
    HeldRun,
    RunError,
    RunMove,
    RunRow,
    StaleRun,
    UnknownRun,
    Usage,
    count_runs,
    find_run,
    get_run,
    list_runs,
    run_history,
)

__all__ = [
    "AttemptsSpent",
    "HeldRun",
    "OpenWork",
    "Recovered",
    "RunError",
    "RunMove",
    "RunRow",
    "StaleRun",
    "UnknownRun",
    "Usage",
    "awaited_devices",
    "claim_run",
    "count_runs",
    "create_run",
    "find_run",
    "get_run",
    "list_runs",
    "move",
    "note_progress",
    "paused_for",
    "record_error",
    "recover",
    "request_cancel",
    "run_history",
]
