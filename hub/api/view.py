"""Response bodies of the REST interface, which ``--json`` prints too.

A field is added, never renamed. Times are aware UTC unless they say otherwise; ids are text.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field

from hub.api.sentences import Refusal
from hub.clock import from_epoch_ms
from protocol.lifecycles import RunOutcome, RunState

# For URLs and command lines, as in hub.toml. Python's ``$`` alone would allow a line feed after the name.
Name = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,63}$(?!\n)")]
Instant = Annotated[datetime, Meta(tz=True)]


class View(Struct, forbid_unknown_fields=True):
    """Base of the bodies of requests and responses.

    Attributes:
        refused_keys: keys of a body that are no fields, with a message and a hint for each.
    """

    refused_keys: ClassVar[Mapping[str, Refusal]] = {}


def moment(at: int | None) -> datetime | None:
    """Convert epoch milliseconds of a row to an aware UTC time; None stays None."""
    return None if at is None else from_epoch_ms(at)


class Health(View):
    """State of the event loop; made without I/O."""

    status: Literal["ok", "stuck"] = "ok"


class Check(View):
    """A condition of a hub that works; *detail* is for a person and has no secrets.

    *degraded*: it works, but not as it should, and a person has to look into it.
    """

    name: str
    ok: bool
    degraded: bool = False
    detail: str | None = None


class Readiness(View):
    """Readiness of the hub to take work, and the reasons if it is not."""

    ready: bool
    degraded: bool = False  # it works, but not as it should
    checks: tuple[Check, ...] = ()


class IssueCounts(View):
    """Numbers of issues by severity."""

    errors: int = 0
    warnings: int = 0
    notices: int = 0


class StatusView(View, kw_only=True):
    """Status of the daemon."""

    name: str
    hub_id: str
    key: str  # the fingerprint of the key by which devices know this hub
    version: str
    uptime_s: float
    state: Literal["running", "draining"] = "running"
    devices_known: int
    devices_connected: int
    gateways_known: int = 0
    gateways_ready: int = 0
    agents: int
    runs: dict[RunState, int]  # how many runs stand in each state; a state without runs may be absent
    model: str | None  # name and kind, as people read it; None: rules only
    listeners: dict[str, str]  # what listens -> where: "devices", "operator", "socket", "webhooks"
    database: str
    held_back: str | None = None  # a sentence: until when nothing is caught up, as the hub died too often
    disk_full: str | None = None  # a sentence: why no run is started, and when it will be
    issues: IssueCounts = field(default_factory=IssueCounts)  # at the last check
    config_generation: int = 1  # of the settings: one more with each edit that was applied


class RunView(View, kw_only=True):
    """A run in one line."""

    id: str
    agent: str
    device: str
    trigger: str = "manual"  # the cause: schedule, catchup, backfill, manual, rerun
    state: RunState
    outcome: RunOutcome | None = None
    reason: str | None = None  # why it is paused, failed or cancelled: a stable word, or a text
    because: str | None = None  # the same as a sentence; of a partial run what failed, and how many
    waiting_for: str | None = None  # a sentence: what has to happen before it continues
    is_pausing: bool = False  # a pause is requested; it executes until the current files are done
    missed: int = 0  # fires that it covers in addition to its own
    missed_because: str | None = None  # a sentence: how many, and why they had no run
    attempt: int = 1
    units_total: int = 0
    units_done: int = 0
    units_skipped: int = 0  # known from an earlier run, or left out on purpose
    units_failed: int = 0
    units_left: int = 0  # of a run that has ended: files left to the next runs
    items_created: int = 0
    error_count: int = 0
    model_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0  # 0 where a model has no price
    items_updated: int = 0  # rows of the device that were changed, as their sources had
    items_known: int = 0  # found, and not sent: the device has them, or its owner refused them
    task_id: str | None = None  # as given by the caller who started it
    progress: float = 0.0  # 0 to 100: of its units, or as its device reports while their number is unknown
    message: str | None = None  # the last one from its device
    fire_at: Instant | None = None  # its nominal time
    created_at: Instant
    started_at: Instant | None = None
    completed_at: Instant | None = None


class FireView(View):
    """Future fire of a schedule: *at* in UTC, *local* in the schedule's zone.

    *shift* is a sentence where the clocks change that night: ``02:30 does not exist that night; ...``.
    """

    at: Instant
    local: Instant
    shift: str | None = None


class ScheduleView(View, kw_only=True):
    """A schedule by which an agent runs, and the rules for fires that cannot run.

    One of *expr* (cron), *every_s* and *at* is given, as *kind* says. Runs are queued
    *offset_s* after each fire: this schedule's share of *jitter_s*, the same every time.
    """

    id: str
    kind: Literal["cron", "every", "at"]
    expr: str | None = None
    every_s: float | None = None
    at: Instant | None = None
    said: str = ""  # the same in short, for people
    timezone: str = "UTC"
    overlap: str = "skip"
    catch_up: Literal["latest", "earliest", "all", "none"] = "latest"
    catch_up_window_s: float | None = None  # None: however old
    max_catch_up: int = 10
    jitter_s: float = 0.0
    offset_s: float = 0.0
    start_deadline_s: float | None = None
    run_timeout_s: float = 3_600.0
    max_attempts: int = 5
    pause_after_failures: int = 5  # in a row; 0: never
    consecutive_failures: int = 0
    enabled: bool = True
    paused_reason: str | None = None  # a stable word
    paused_because: str | None = None  # a sentence
    next_fires: tuple[FireView, ...] = ()  # the next five; none while it is not enabled


class AgentView(View, kw_only=True):
    """An agent, its schedules and its last run.

    *device* is empty where it has none, as one that lives at a *gateway*. *prompt*: its own, else its
    template's. *config_rev* grows with each change of the agent.
    """

    id: str
    name: str
    user: str = ""
    device: str
    device_connected: bool
    gateway: str | None = None
    connectivity: str = "offline"
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    schedule: str | None = None  # in short, for people, paused or not: "0 7 * * 1-5", "every 900 s"
    timezone: str = "UTC"
    source: Literal["file", "api"] = "file"
    priority: int = 0
    max_concurrent_runs: int = 1
    description: str | None = None
    type: str = "CUSTOM"  # in the shared vocabulary; *subtype* is more specific
    subtype: str | None = None
    template: str | None = None
    external_id: str | None = None
    instance_id: str | None = None
    project_id: str | None = None
    needs: tuple[str, ...] = ()  # capabilities without which none of its runs starts
    locks: tuple[str, ...] = ()  # that each of its runs holds
    config_rev: int = 1
    lifecycle: str = "active"
    availability: str = "available"
    health: str = "ok"
    recovery_at: Instant | None = None  # when an exhausted agent is tried again
    schedules: tuple[ScheduleView, ...] = ()
    next_fires: tuple[FireView, ...] = ()  # the next five of all its schedules
    last_run: RunView | None = None
