"""Queue that serves users in turn, and each user's entries in order of arrival. No I/O."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Round-robin queue: a user with a hundred entries does not delay one with a single entry."""

    def __init__(self) -> None:
        # The next user first; users without entries are removed.
        self._users: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def head(self) -> T | None:
        """Next entry, or None."""
        return next(iter(self._users.values()))[0] if self._users else None

    def put(self, user: str, one: T, *, first: bool = False) -> None:
        """Queue *one* behind the user's other entries, or before them if *first* (for a retry)."""
        own = self._users.setdefault(user, deque())
        if first:
            own.appendleft(one)
        else:
            own.append(one)
        self._count += 1

    def pop(self) -> T:
        """Remove and return the head; its user moves to the end. Raises LookupError if the queue is empty."""
        user, own = next(iter(self._users.items()), ("", deque[T]()))
        one = own.popleft()
        self._users.move_to_end(user)
        self._close(user)
        return one

    def remove(self, user: str, one: T) -> None:
        """Remove *one* from any position. Raises LookupError or ValueError if it is not queued."""
        self._users[user].remove(one)
        self._close(user)

    def _close(self, user: str) -> None:
        self._count -= 1
        if not self._users[user]:
            del self._users[user]
