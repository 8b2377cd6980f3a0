"""Condition of the database (full, busy, away, damaged), as reported by jobs and file checks."""

from collections.abc import Callable
from typing import Final, NamedTuple

from storage.kernel.database import DatabaseUnavailable, StorageError, Trouble
from storage.kernel.sqlite import machine_now_ms

_LASTING: Final = ("damaged", "replaced")


class Condition(NamedTuple):
    """Condition in which the database does not work.

    *error*: the first one that showed it; *since_ms*: wall time, epoch milliseconds.
    """

    trouble: Trouble
    error: StorageError
    since_ms: int
    is_of_write: bool

    @property
    def is_lasting(self) -> bool:
        """True if a write could destroy what is left: the hub writes no more until it opened another file."""
        return self.trouble in _LASTING


class DatabaseHealth:
    """Condition of a database: begins with the error of a job, and ends when a check finds that it works.

    A job that succeeds proves nothing: it may have needed neither that page nor a write.

    Attributes:
        on_change: called when a condition begins or ends.

    Args:
        long_s: seconds from the first error until another process counts as holding the database.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        long_s: float = 0.0,
    ) -> None:
        self.condition: Condition | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._monotonic = monotonic
        self._long_s = long_s
        self._busy_since: dict[bool, float] = {}  # of reads, and of writes

    def check_writable(self) -> None:
        """Refuse a write to a database that was damaged or replaced. Raises StorageError."""
        if self.condition is not None and self.condition.is_lasting:
            refusal = DatabaseUnavailable(
                f"the hub writes no more: {self.condition.error}", self.condition.trouble
            )
            refusal.is_on_a_server = self.condition.error.is_on_a_server
            raise refusal

    def failed(self, error: StorageError, *, is_write: bool) -> None:
        """Note the error of a job."""
        known, trouble = self.condition, error.trouble
        if trouble is None or (known is not None and (known.is_lasting or known.trouble == trouble)):
            return
        if trouble == "read_only" and not is_write:
            return  # a read that tries to write
        if trouble == "busy":
            since = self._busy_since.setdefault(is_write, self._monotonic())
            if self._monotonic() - since < self._long_s:
                return
        self._change(Condition(trouble, error, machine_now_ms(), is_write))

    def worked(self, *, is_write: bool) -> None:
        """Note that no other process held the database during a job."""
        self._busy_since.pop(is_write, None)

    def end_condition(self) -> None:
        """Note that the database works again."""
        self._change(None)

    def _change(self, condition: Condition | None) -> None:
        self.condition = condition
        self.on_change()
