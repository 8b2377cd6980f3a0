"""Users, as an operator asks for them."""

from typing import Protocol

from hub.api.views.identity import UserView
from protocol.errors import ErrorCode, HubError


class TooManyUsers(HubError):
    """As many users are known as may be."""

    code = ErrorCode.LIMIT_REACHED


class OwnerStays(HubError):
    """The owner is made at each start, and cannot be removed."""

    code = ErrorCode.ILLEGAL_TRANSITION


class UserFacade(Protocol):
    """The people who own devices and agents."""

    async def all(self) -> list[UserView]:
        """All users, by name; as one user sees it, that one."""
        ...

    async def create(self, name: str, *, actor: str) -> UserView:
        """Make a user.

        Raises:
            UserTaken: there is one of that name; nothing was made.
            TooManyUsers: nothing was made.
        """
        ...

    async def remove(self, name: str, *, actor: str) -> UserView:
        """Take a user away who owns nothing any more.

        Raises:
            UnknownUser: there is none of that name.
            UserOwnsThings: a device, an agent, a token or a run of theirs is still there.
            OwnerStays: it is the owner.
        """
        ...
