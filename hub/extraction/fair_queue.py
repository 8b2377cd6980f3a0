"""A queue that serves users in turn, and each user's own in the order they came. Pure."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Whoever brings a hundred waits behind whoever brings one, ninety-nine times."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, deque[T]] = OrderedDict()  # the next user first; none without any
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def head(self) -> T | None:
        """Who is served next."""
        return next(iter(self._users.values()))[0] if self._users else None

    def put(self, user: str, one: T, *, first: bool = False) -> None:
        """Queue *one*; *first* of its user's own where it had its turn before and needs another."""
        own = self._users.setdefault(user, deque())
        if first:
            own.appendleft(one)
        else:
            own.append(one)
        self._count += 1

    def pop(self) -> T:
        """Take the head out; its user's next one comes after all others. Raises LookupError when empty."""
        user, own = next(iter(self._users.items()), ("", deque[T]()))
        one = own.popleft()
        self._users.move_to_end(user)
        self._close(user)
        return one

    def remove(self, user: str, one: T) -> None:
        """Take *one* out, wherever it stands. Raises LookupError or ValueError when it does not."""
        self._users[user].remove(one)
        self._close(user)

    def _close(self, user: str) -> None:
        self._count -= 1
        if not self._users[user]:
            del self._users[user]
