"""Settings of a CalDAV server in hub.toml, and the filter of its calendars."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from hub.connectors.calling import origin_of
from hub.connectors.connector import ProviderSettings
from hub.connectors.filters import Filter, Words
from hub.outbound.rules import is_this_machine

Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\r\n\x00]+$")]
MOST_DAYS: Final = 3_650


class CalDavSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider caldav."""

    url: Line = Field(description="Of the server, of all calendars, or of one: https://HOST/...")
    username: Line = Field(description="As the server knows the owner; often the address.")

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            origin_of(value)
        except ValueError:
            raise ValueError("not the address of a server: https://HOST") from None
        parts = urlsplit(value)
        if parts.query or parts.fragment:
            raise ValueError("an address without ? and #")
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            raise ValueError("a password is sent to another machine over https only")
        return value

    @field_validator("username")
    @classmethod
    def _is_no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("a user name has no colon where a password is behind it (RFC 7617)")
        return value


class CalDavFilter(Filter):
    """Table ``filter`` of an agent that reads calendars."""

    calendars: Words = Field(default=(), description="By their names; none: all of them.")
    kinds: tuple[Literal["VTODO", "VEVENT"], ...] = Field(
        default=("VTODO", "VEVENT"), min_length=1, description="To-dos, events, or both."
    )
    window_days: int = Field(
        default=90,
        ge=1,
        le=MOST_DAYS,
        description="How far ahead events are read; later ones, when it is time.",
    )
