"""Settings of an IMAP connector, and an agent's filter of folders."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from hub.base.outbound.addresses import parse_host
from hub.base.outbound.rules import is_this_machine
from hub.base.tls_faults import ca_file_fault, trusting
from hub.base.toml.values import SettingsPath
from hub.connectors.connector import Filter, OAuth, ProviderSettings, Words
from hub.connectors.mime import GOOGLE, MICROSOFT

PORT: Final = 143
OneLine = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\r\n\x00]+$")]
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

    authorize_url: OneLine = Field(description="Where the browser goes.")
    token_url: OneLine = Field(description="Where tokens are got.")
    device_url: OneLine | None = Field(default=None, description="Of the device grant, if there is one.")
    revoke_url: OneLine | None = Field(default=None, description="Where tokens are given back.")
    scopes: Words = Field(default=(), description="What is asked for.")


class ImapSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider imap."""

    host: OneLine = Field(description="The server's name, which its certificate has to bear.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="993 with TLS from the start, else 143."
    )
    tls: Literal["implicit", "starttls", "none"] = Field(
        default="implicit", description='"none" only for this machine, or with insecure = true.'
    )
    username: OneLine = Field(description="As the server knows the owner; often the address.")
    auth: Literal["password", "xoauth2"] = Field(default="password", description="How the owner signs in.")
    ca_file: SettingsPath | None = Field(
        default=None, description="Certificates (PEM) that are trusted instead of this machine's."
    )
    insecure: bool = Field(
        default=False, description="Let the password travel to another machine unprotected."
    )
    authserv_id: OneLine | None = Field(
        default=None,
        description="Name with which the server's own Authentication-Results begin; without it no sender is"
        " verified, except at Google and Microsoft.",
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
        host = self.at_host
        if self.tls == "none" and not self.insecure and not is_this_machine(host):
            raise ValueError(
                'tls = "none" would send the password unprotected; use "starttls", or insecure = true'
            )
        if self.auth == "xoauth2" and self.sign_in() is None:
            raise ValueError(
                f'auth = "xoauth2" at {self.host} needs oauth = {{authorize_url, token_url, scopes}}'
            )
        return self

    @property
    def at_host(self) -> str:
        """Host as it is judged and called. Raises ValueError: it is none."""
        return parse_host(self.host)

    @property
    def at_port(self) -> int:
        """Configured or default port."""
        return self.port or (993 if self.tls == "implicit" else PORT)

    @property
    def own_authserv_id(self) -> str | None:
        """Configured or known name of the server in Authentication-Results; None: unknown."""
        if self.authserv_id is not None:
            return self.authserv_id
        return {"imap.gmail.com": GOOGLE, "outlook.office365.com": MICROSOFT}.get(self.host.lower())

    def sign_in(self) -> OAuth | None:
        """Return the OAuth parameters, or None for a sign-in by password."""
        if self.auth == "password":
            return None
        if self.oauth is None:
            return _KNOWN.get(self.host.lower())
        return OAuth(**self.oauth.model_dump())

    def protection(self) -> Sequence[str]:
        """Return the word for no TLS, and the certificates that are trusted."""
        return ["none"] * (self.tls == "none") + [str(self.ca_file)] * (self.ca_file is not None)

    def problem_of_files(self) -> str | None:
        """Return why this node cannot use *ca_file*, or None."""
        if self.ca_file is None:
            return None
        try:
            trusting(self.ca_file)
        except OSError as error:
            return ca_file_fault(self.ca_file, error)
        return None


class ImapFilter(Filter):
    """Table ``filter`` of an agent that reads a mailbox over IMAP."""

    folders: Words = Field(default=("INBOX",), description="As a mail program shows them.")
    special_use: tuple[
        Literal["all", "archive", "drafts", "flagged", "important", "junk", "sent", "trash"], ...
    ] = Field(default=(), description="Folders by what the server says that they are for, beside those.")
    flags_none: Words = Field(
        default=(), description=r'Flags that it must not have, as in "\\Flagged", "$Junk".'
    )
    header: dict[OneLine, Annotated[str, StringConstraints(max_length=300)]] = Field(
        default={}, max_length=20, description="Headers, and text that each has to contain."
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
