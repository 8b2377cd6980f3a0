"""Tables ``[[connectors]]`` of hub.toml: accounts of mailboxes, chats, calendars and feeds."""

from pathlib import Path as FilePath
from typing import Annotated, Any, Final, Self

from pydantic import (
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from hub.base.toml.values import REQUIRED, Name, SecretRef, SettingsTable, live

MAX_CONNECTORS: Final = 200  # each needs a client and a rate limiter in memory


Provider = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$(?!\n)")]


ClientId = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class ConnectorSettings(SettingsTable):
    """Settings of an account; its provider checks *settings*."""

    name: Name = live(REQUIRED, "Name.")
    provider: Provider = live(
        REQUIRED, "One of 'hub connectors providers', as in imap or rss, or the provider of a plug-in."
    )
    user: Name = live("owner", "Owner; a new name creates a user.")
    secret: SecretRef | None = live(
        None, "Password, app password or signing secret; none with an OAuth sign-in."
    )
    previous_secret: SecretRef | None = live(
        None, "Previous signing secret, valid as well while senders change theirs."
    )
    client_id: ClientId | None = live(None, "Id of the hub's OAuth client at the provider.")
    client_secret: SecretRef | None = live(None, "Secret of the OAuth client, if it has one.")
    settings: Annotated[dict[str, Any], Field(max_length=64)] = live(
        {}, "Settings of the provider, such as its server."
    )
    _folder: FilePath = PrivateAttr(FilePath())

    @model_validator(mode="after")
    def _note_folder(self, info: ValidationInfo) -> Self:
        self._folder = FilePath((info.context or {}).get("base", FilePath()))
        return self

    @property
    def folder(self) -> FilePath:
        """Folder of hub.toml, at which files of *settings* begin."""
        return self._folder


Connectors = Annotated[tuple[ConnectorSettings, ...], Field(max_length=MAX_CONNECTORS)]
