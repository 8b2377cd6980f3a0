"""Condition of the database, as all jobs on it and the checks of its files report it."""

from collections.abc import Callable
from typing import Final, NamedTuple

from storage.kernel.database import Damaged, Replaced, StorageError, Trouble
from storage.kernel.sqlite import machine_now_ms

LONG_S: Final = 5.0  # for so long, other hubs may hold rows of a shared database; a file is waited for
_LASTING: Final = (Damaged, Replaced)


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
        return isinstance(self.error, _LASTING)


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
        now_ms: Callable[[], int] = machine_now_ms,
        *,
        long_s: float = 0.0,
    ) -> None:
        self.condition: Condition | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._long_s = long_s
        self._busy_since: dict[bool, float] = {}  # of reads, and of writes

    def check_writable(self) -> None:
        """Refuse a write to a database that was damaged or replaced. Raises StorageError."""
        if self.condition is not None and self.condition.is_lasting:
            refusal = type(self.condition.error)(f"the hub writes no more: {self.condition.error}")
            refusal.is_on_a_server = self.condition.error.is_on_a_server
            raise refusal

    def failed(self, error: StorageError, *, is_write: bool) -> None:
        """Note the error of a job."""
        known, trouble = self.condition, error.trouble
        if trouble is None or (known is not None and (known.is_lasting or known.trouble is trouble)):
            return
        if trouble is Trouble.READ_ONLY and not is_write:
            return  # a read that tries to write
        if trouble is Trouble.BUSY:
            since = self._busy_since.setdefault(is_write, self._monotonic())
            if self._monotonic() - since < self._long_s:
                return
        self._change(Condition(trouble, error, self._now_ms(), is_write))

    def worked(self, *, is_write: bool) -> None:
        """Note that no other process held the database during a job."""
        self._busy_since.pop(is_write, None)

    def end_condition(self) -> None:
        """Note that the database works again."""
        self._change(None)

    def _change(self, condition: Condition | None) -> None:
        self.condition = condition
        self.on_change()
