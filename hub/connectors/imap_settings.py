"""Settings of an IMAP server in hub.toml, and the filter of a mailbox."""

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from hub.connectors.connector import OAuth, ProviderSettings
from hub.connectors.filters import Filter, Words
from hub.outbound.rules import is_this_machine

IMPLICIT_PORT: Final = 993
PORT: Final = 143
Line = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\r\n\x00]+$")]

_MICROSOFT: Final = "https://login.microsoftonline.com/common/oauth2/v2.0"
_KNOWN: Final = {
    "imap.gmail.com": OAuth(
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",
        revoke_url="https://oauth2.googleapis.com/revoke",
        scopes=("https://mail.google.com/",),
        authorize=(("access_type", "offline"), ("prompt", "consent")),
    ),
    "outlook.office365.com": OAuth(
        authorize_url=f"{_MICROSOFT}/authorize",
        token_url=f"{_MICROSOFT}/token",
        device_url=f"{_MICROSOFT}/devicecode",
        scopes=("https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"),
        loopback="localhost",
    ),
}


class OAuthSettings(BaseModel):
    """OAuth endpoints of servers that the hub does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authorize_url: Line = Field(description="Where the browser goes.")
    token_url: Line = Field(description="Where tokens are got.")
    device_url: Line | None = Field(default=None, description="Of the device grant, if there is one.")
    revoke_url: Line | None = Field(default=None, description="Where tokens are given back.")
    scopes: Words = Field(default=(), description="What is asked for.")


class ImapSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider imap."""

    host: Line = Field(description="The server's name, which its certificate has to bear.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="993 with TLS from the start, else 143."
    )
    tls: Literal["implicit", "starttls", "none"] = Field(
        default="implicit", description='"none" only for this machine, or with insecure = true.'
    )
    username: Line = Field(description="As the server knows the owner; often the address.")
    auth: Literal["password", "xoauth2"] = Field(default="password", description="How the owner signs in.")
    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that are trusted instead of this machine's."
    )
    insecure: bool = Field(
        default=False, description="Let the password travel to another machine unprotected."
    )
    oauth: OAuthSettings | None = Field(
        default=None, description="For auth = xoauth2, where the server is neither Google's nor Microsoft's."
    )

    @field_validator("username")
    @classmethod
    def _is_no_control(cls, username: str) -> str:
        if "\x01" in username:
            raise ValueError("no control characters in a user name")
        return username

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tls == "none" and not self.insecure and not is_this_machine(self.host):
            raise ValueError(
                'tls = "none" would send the password unprotected; use "starttls", or insecure = true'
            )
        if self.auth == "xoauth2" and self.sign_in() is None:
            raise ValueError(
                f'auth = "xoauth2" at {self.host} needs oauth = {{authorize_url, token_url, scopes}}'
            )
        return self

    @property
    def at_port(self) -> int:
        """Configured or default port."""
        return self.port or (IMPLICIT_PORT if self.tls == "implicit" else PORT)

    def sign_in(self) -> OAuth | None:
        """Return the OAuth parameters, or None for a sign-in by password."""
        if self.auth == "password":
            return None
        if self.oauth is None:
            return _KNOWN.get(self.host.lower())
        endpoints = self.oauth
        return OAuth(
            authorize_url=endpoints.authorize_url,
            token_url=endpoints.token_url,
            device_url=endpoints.device_url,
            revoke_url=endpoints.revoke_url,
            scopes=endpoints.scopes,
        )

    def trust(self) -> ssl.SSLContext:
        """Return the TLS context; certificate and host name are always verified.

        Raises:
            OSError: *ca_file* does not exist, or contains no certificates.
        """
        return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))


class ImapFilter(Filter):
    """Table ``filter`` of an agent that reads a mailbox over IMAP."""

    folders: Words = Field(default=("INBOX",), description="As a mail program shows them.")
    special_use: tuple[
        Literal["all", "archive", "drafts", "flagged", "important", "junk", "sent", "trash"], ...
    ] = Field(default=(), description="Folders by what the server says that they are for, beside those.")
    flags_none: Words = Field(
        default=(), description=r'Flags that it must not have, as in "\\Flagged", "$Junk".'
    )
    header: dict[Line, Annotated[str, StringConstraints(max_length=300)]] = Field(
        default={}, max_length=20, description="Headers, and what has to stand in each."
    )

    @field_validator("header")
    @classmethod
    def _are_names(cls, header: dict[str, str]) -> dict[str, str]:
        for name in header:
            if not all("!" <= char <= "~" and char not in ':"()[]{}\\' for char in name):
                raise ValueError(f"{name!r} is no header's name")
        return {name.lower(): value for name, value in header.items()}

    @model_validator(mode="after")
    def _names_a_folder(self) -> Self:
        if not self.folders and not self.special_use:
            raise ValueError("folders and special_use are both empty: nothing would be read")
        return self
