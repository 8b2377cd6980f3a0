"""What an operator does to the hub as a whole."""

from typing import Protocol

from hub.api.views.upkeep import BackupView, DrainView


class UpkeepFacade(Protocol):
    """Stopping the hub, and backing it up."""

    async def drain(self, *, restarts: bool | None, actor: str) -> DrainView:
        """Stop in good order: nothing is started any more, what executes ends or is paused.

        Twice is once.

        Args:
            restarts: devices are told to come back at once, for another process takes over; ``None``:
                as it is where this hub runs.
        """
        ...

    async def back_up(self, *, actor: str) -> BackupView:
        """Make a backup in the hub's own folder.

        Raises:
            BackupRefused: the database is not a file of this hub, or is damaged.
            Unavailable: there is no room.
        """
        ...
