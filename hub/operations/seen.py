"""A noun of the operators as one user sees it: what belongs to others is not there."""

from copy import copy
from typing import Self

from protocol.ids import UserId


class Seen:
    """The base of every noun whose things belong to users.

    Attributes:
        user_id: whose things there are; None: everybody's. Every method looks at it.
    """

    user_id: UserId | None = None

    def seen_by(self, user_id: UserId | None) -> Self:
        """The same noun, with this user's things only."""
        seen = copy(self)
        seen.user_id = user_id
        return seen
