"""Settings of Teams in hub.toml, and the filter of an agent."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hub.connectors.filters import Filter
from hub.connectors.graph import GraphSettings

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TeamsSettings(GraphSettings):
    """Addresses of Microsoft, the account's tenant, and the requested permissions."""

    tenant: str = Field(
        default="organizations",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$",
        description='The tenant\'s name or id; "organizations" for any. Personal accounts have no chats.',
    )
    channels: bool = Field(
        default=False,
        description="Ask for the right to read channels, too: an administrator has to consent to it.",
    )


class Channel(BaseModel):
    """Channel with Microsoft's ids: both are in the link that Teams copies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team: Id = Field(description="groupId in the channel's link.")
    channel: Id = Field(description="19:...@thread.tacv2, in the channel's link.")


class TeamsFilter(Filter):
    """Filter of chats and channels."""

    chats: Literal["all", "direct", "group", "none"] | Annotated[tuple[Id, ...], Field(max_length=100)] = (
        Field(
            default="all",
            description='"all", "direct" (of two), "group" (meetings, too), "none", or their ids.',
        )
    )
    channels: Annotated[tuple[Channel, ...], Field(max_length=10)] = Field(
        default=(), description="Channels: { team = ..., channel = ... }."
    )
    mentions_me_only: bool = Field(default=False, description="Only messages that name the owner.")
