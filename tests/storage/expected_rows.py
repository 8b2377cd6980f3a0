"""What there is in the dicts beside the rows. See ``tests.storage.expected``."""

from dataclasses import dataclass

EXECUTING, WAITING = ("PREPARING", "RUNNING"), ("QUEUED", "PAUSED")
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
FIRED = ("schedule", "catchup")
CRASHES, ATTEMPTS, FAILURES_IN_A_ROW = 3, 5, 2


@dataclass
class Run:
    """A run."""

    id: str
    agent: str
    device: str
    eligible_at: int
    schedule: str | None = None
    trigger: str = "manual"
    fire_at: int = 0
    start_by: int | None = None
    state: str = "QUEUED"
    pause: str | None = None
    fence: int = 0
    attempt: int = 1
    crashes: int = 0
    has_run: bool = False
    is_unwanted: bool = False
    is_success: bool = False
    ended_at: int | None = None
    touched_at: int = 0

    @property
    def is_live(self) -> bool:
        return self.state not in FINAL

    @property
    def executes(self) -> bool:
        return self.state in EXECUTING

    @property
    def was_never_started(self) -> bool:
        return self.fence == 0 and self.state in WAITING


@dataclass
class Call:
    """An item on its way. *carries* is whether its payload is known."""

    run: str
    unit: str
    state: str = "PLANNED"
    sends: int = 0
    carries: bool = True

    @property
    def is_open(self) -> bool:
        return self.state in ("PLANNED", "SENT")


@dataclass
class Agent:
    """An agent. *back_at* is when its quota is back, if it is used up; *times* how often it was, in a row."""

    id: str
    device: str
    is_active: bool = True
    is_archived: bool = False
    back_at: int | None = None
    times: int = 0


@dataclass
class Schedule:
    """A schedule that fires every so many milliseconds."""

    id: str
    agent: str
    every: int
    overlap: str
    start_within: int | None
    anchor: int
    cursor: int
    next_at: int | None = None  # of an enabled one; None: to be planned
    paused: str | None = None
    failures: int = 0

    def fires(self, until: int) -> list[int]:
        """Those after the cursor, up to *until*."""
        first = self.after(self.cursor)
        return list(range(first, until + 1, self.every))

    def after(self, at: int) -> int:
        """The first fire later than *at*."""
        return self.anchor if at < self.anchor else at + self.every - (at - self.anchor) % self.every
