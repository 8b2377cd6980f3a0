"""The settings of a running hub, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.door.roles import Principal
from hub.api.views.config import ConfigCheckView, ConfigEdit, ConfigText, ConfigView, ReloadView


class ConfigFacade(Protocol):
    """hub.toml as it is in use, and changing it."""

    def get(self) -> ConfigView:
        """The settings in use."""
        ...

    def tag(self) -> str:
        """The entity tag of the settings in use."""
        ...

    async def check(self, text: ConfigText, *, by: Principal) -> ConfigCheckView:
        """What would be wrong with *text*, and what would change, if the file said it.

        Raises:
            BeyondSettings: *by* may not even try another secret, file or place of the model.
        """
        ...

    async def reload(self, *, wait: bool, actor: str) -> ReloadView:
        """Take up what the file says now.

        Args:
            wait: for a reload that is under way; else it is refused.

        Raises:
            SettingsInvalid: everything that is wrong with it; the hub goes on as it was.
            ReloadUnderWay: nothing was looked at.
        """
        ...

    async def edit(self, edit: ConfigEdit, *, expected: Sequence[str] | None, by: Principal) -> ReloadView:
        """Write an edit into the file and take it up.

        Args:
            expected: tags of settings that the editor has seen; None: whatever they are now.

        Raises:
            BeyondSettings: *by* may not change a secret, a file or the model's place; nothing was changed.
            StaleSettings: they are others by now; nothing was changed.
            SettingsInvalid: it cannot be taken up; the file was not touched.
        """
        ...
