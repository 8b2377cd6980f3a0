"""Access tokens, as a connector gets them: where they come from is not its business."""

from typing import Protocol


class Tokens(Protocol):
    """Access tokens of one account: good ones, refreshed once for all who wait."""

    async def token(self, rejected: str | None = None) -> str:
        """A token that is good for a while.

        Args:
            rejected: the one that was just refused; another is got unless somebody has by now.

        Raises:
            SignInNeeded: there is no way to one without a person.
            Unavailable: not now.
        """
        ...
