"""Runs: creation, claims, moves, reading.

Re-exports its modules: ``run_rows`` (rows); ``run_moves`` (creation and moves); ``run_pauses`` (stopping and
continuing from outside); ``run_claims`` (claims from the queue); ``run_recovery`` (recovery from a dead hub);
``run_progress`` (counters, errors, reports and results); ``run_waits`` (requested runs, and conditions of
waiting ones).

An executing run is held by the process that knows its fence. A move that ends the execution by force raises
the fence; later writes of the old holder are refused with ``StaleRun``.
"""

from storage.runs.run_claims import Gates, claim_runs
from storage.runs.run_moves import AttemptsSpent, LivesAtGateway, OpenWork, create_run, move
from storage.runs.run_pauses import (
    ModelWaits,
    Swept,
    awaited_devices,
    awaiting_model,
    cancel_orphans,
    exhaust_run,
    follow_agents,
    model_waits,
    overdue,
    pause_early,
    pause_run,
    recover_agents,
    request_cancel,
    rested_agents,
    resume_run,
    resume_runs,
    runs_to_cancel,
    sweep,
)
from storage.runs.run_progress import (
    ContextTooLarge,
    Report,
    check_context,
    check_held,
    note_progress,
    record_error,
    record_held_error,
    report,
)
from storage.runs.run_recovery import Recovered, executing_of, recover, take_back
from storage.runs.run_rows import (
    HeldRun,
    RunError,
    RunMove,
    RunRow,
    StaleRun,
    UnknownRun,
    Usage,
    count_executing,
    count_runs,
    find_run,
    find_runs,
    get_run,
    list_runs,
    run_history,
    runs_ending_in,
)
from storage.runs.run_waits import RunWait, TooManyWaiting, WaitingLimits, start_run, waits_of

__all__ = [
    "AttemptsSpent",
    "ContextTooLarge",
    "Gates",
    "HeldRun",
    "LivesAtGateway",
    "ModelWaits",
    "OpenWork",
    "Recovered",
    "Report",
    "RunError",
    "RunMove",
    "RunRow",
    "RunWait",
    "StaleRun",
    "Swept",
    "TooManyWaiting",
    "UnknownRun",
    "Usage",
    "WaitingLimits",
    "awaited_devices",
    "awaiting_model",
    "cancel_orphans",
    "check_context",
    "check_held",
    "claim_runs",
    "count_executing",
    "count_runs",
    "create_run",
    "executing_of",
    "exhaust_run",
    "find_run",
    "find_runs",
    "follow_agents",
    "get_run",
    "list_runs",
    "model_waits",
    "move",
    "note_progress",
    "overdue",
    "pause_early",
    "pause_run",
    "record_error",
    "record_held_error",
    "recover",
    "recover_agents",
    "report",
    "request_cancel",
    "rested_agents",
    "resume_run",
    "resume_runs",
    "run_history",
    "runs_ending_in",
    "runs_to_cancel",
    "start_run",
    "sweep",
    "take_back",
    "waits_of",
]
