"""Snapshot of the rows after the last commit, for the laws."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.simulation.store import Commit, Disk

EXECUTING = frozenset({"PREPARING", "RUNNING"})
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class RunFacts(NamedTuple):
    """Columns of ``runs``."""

    id: str
    agent_id: str
    schedule_id: str | None
    device_id: str | None
    trigger_kind: str
    fire_key: str
    fire_at: int
    eligible_at: int
    queue_slot: str | None
    state: str
    outcome: str | None
    reason: str | None
    pause_reason: str | None
    fence: int
    lease_boot_id: str | None
    cancel_requested_at: int | None
    attempt: int
    max_attempts: int
    error_count: int
    units_done: int
    units_skipped: int
    units_unchanged: int
    units_failed: int
    items_created: int
    state_seq: int
    start_deadline_at: int | None
    started_at: int | None
    completed_at: int | None

    @property
    def is_executing(self) -> bool:
        return self.state in EXECUTING

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def was_never_started(self) -> bool:
        return self.state == "QUEUED" and self.fence == 0


class ScheduleFacts(NamedTuple):
    """Columns of ``schedules``."""

    id: str
    agent_id: str
    kind: str
    expr: str | None
    every_ms: int | None
    at_ms: int | None
    tz: str
    overlap: str
    enabled: int
    paused_reason: str | None
    cursor_at: int
    next_fire_at: int | None
    first_connect: str | None
    rev: int
    created_at: int


class AgentFacts(NamedTuple):
    """Columns of ``agent_states``."""

    agent_id: str
    lifecycle: str
    availability: str
    health: str
    recovery_at: int | None
    probe_at: int | None
    runs_waiting: int
    runs_executing: int
    runs_running: int


class LeaseFacts(NamedTuple):
    """Columns of ``leases``."""

    name: str
    holder_boot_id: str | None
    fence: int
    expires_at: int


class Change(NamedTuple):
    """Run before and after a commit; None if it did not exist."""

    before: RunFacts | None
    after: RunFacts | None


class Facts:
    """Rows after the last commit, and the changes of that commit."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.runs: dict[str, RunFacts] = {}
        self.live: dict[str, RunFacts] = {}
        self.schedules: dict[str, ScheduleFacts] = {}
        self.agents: dict[str, AgentFacts] = {}
        self.leases: dict[str, LeaseFacts] = {}
        self.changes: list[Change] = []
        self.schedules_before: dict[str, ScheduleFacts | None] = {}
        self.leases_before: dict[str, LeaseFacts] = {}

    def look_anew(self) -> None:
        """Read all rows again after a restore."""
        for known in (self.runs, self.live, self.schedules, self.agents, self.leases):
            known.clear()
        self.changes.clear()
        self.schedules_before, self.leases_before = {}, {}
        for row in self._all("runs", RunFacts._fields):
            run = self.runs[row[0]] = RunFacts(*row)
            if not run.is_final:
                self.live[run.id] = run
        self.schedules |= {
            row[0]: ScheduleFacts(*row) for row in self._all("schedules", ScheduleFacts._fields)
        }
        self.agents |= {row[0]: AgentFacts(*row) for row in self._all("agent_states", AgentFacts._fields)}
        self.leases |= {row[0]: LeaseFacts(*row) for row in self._all("leases", LeaseFacts._fields)}

    def _all(self, table: str, columns: tuple[str, ...]) -> list[Any]:
        return self.disk.rows(f"SELECT {', '.join(columns)} FROM {table}")

    def take(self, commit: Commit) -> None:
        """Read the rows that *commit* changed."""
        ids = commit.touched.ids
        self.changes.clear()
        self.leases_before = self.leases.copy() if "leases" in ids else self.leases
        for row in self._rows("runs", "id", RunFacts._fields, ids.get("runs", ())):
            run = RunFacts(*row)
            self.changes.append(Change(self.runs.get(run.id), run))
            self.runs[run.id] = run
            if run.is_final:
                self.live.pop(run.id, None)
            else:
                self.live[run.id] = run
        for run_id in commit.touched.deleted_runs:
            self.changes.append(Change(self.runs.pop(run_id, None), None))
            self.live.pop(run_id, None)
        self.schedules_before = {}
        for row in self._rows("schedules", "id", ScheduleFacts._fields, ids.get("schedules", ())):
            schedule = ScheduleFacts(*row)
            self.schedules_before[schedule.id] = self.schedules.get(schedule.id)
            self.schedules[schedule.id] = schedule
        for row in self._rows("agent_states", "agent_id", AgentFacts._fields, ids.get("agent_states", ())):
            self.agents[row[0]] = AgentFacts(*row)
        for row in self._rows("leases", "name", LeaseFacts._fields, ids.get("leases", ())):
            self.leases[row[0]] = LeaseFacts(*row)

    def _rows(self, table: str, key: str, columns: tuple[str, ...], ids: Iterable[str]) -> list[Any]:
        statement = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} = ?"
        return [row for one in ids for row in self.disk.rows(statement, one)]
