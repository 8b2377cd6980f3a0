"""Types of settings (addresses, zones, durations, secrets), and what a change of each requires.

A field is one line: ``runs: Whole = live(32, "Runs at once.")``. Its text is shown in the JSON Schema and in
editors; ``live``, ``reconnect`` and ``restart`` say when a change takes effect.

References to secrets: ``{ env = "NAME" }``, ``{ file = "PATH" }``, ``{ credential = "NAME" }``.

A credential is a file that the service manager provides.
"""

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hub.base.outbound.addresses import parse_target
from hub.base.outbound.rules import is_this_machine
from protocol.errors import ErrorCode, HubError
from protocol.similar_names import did_you_mean

T = TypeVar("T")

REQUIRED: Final[Any] = ...  # in place of a default


# Time at which a changed value takes effect.
Effect = Literal[
    "live",  # at once, for everything in progress
    "reconnect",  # for each connection opened from then on
    "restart",  # after the next start
]


# Hubs that count a limit together, of several hubs on one database.
Scope = Literal[
    "per node",  # each hub counts its own, so that more hubs do more
    "per cluster",  # all hubs together
]


EFFECT: Final = "x-effect"  # its key in the JSON Schema
SCOPE: Final = "x-scope"


def live(default: T, text: str, scope: Scope | None = None) -> T:
    """Declare a field whose change takes effect at once."""
    return _field(default, text, "live", scope)


def reconnect(default: T, text: str) -> T:
    """Declare a field whose change takes effect for new connections."""
    return _field(default, text, "reconnect")


def restart(default: T, text: str, scope: Scope | None = None) -> T:
    """Declare a field whose change takes effect at the next start."""
    return _field(default, text, "restart", scope)


def _field(default: T, text: str, effect: Effect, scope: Scope | None = None) -> T:
    extra: dict[str, JsonValue] = {EFFECT: effect}
    if scope is not None:
        extra[SCOPE] = scope
    # Typed as the default's type, like pydantic's Field.
    field: T = Field(default, description=text, json_schema_extra=extra)
    return field


@dataclass(frozen=True)
class HostPort:
    """Host (a name, or an IP address without brackets) and port; port 0 selects a free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "HostPort":
        """Parse an address. Raises ValueError with the problem."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif ":" in host:
            raise ValueError("write an IPv6 address in brackets: [::1]:8770")
        if not colon or not host:
            raise ValueError("an address is host:port")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError("a port is a number from 0 to 65535")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the address."""
        return is_this_machine(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


WEEK_S = 7 * 86_400
YEAR_S = 366 * 86_400


class SettingsTable(BaseModel):
    """Base of all tables of hub.toml."""

    # The other engine compiles each pattern anew for each field: 10 ms and 1 MB if it has ``\w``.
    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")

    needs_restart: ClassVar = False  # True: no change from or to such a table takes effect at once


def refusal(kind: str, message: str, **context: str) -> PydanticCustomError:
    """Return a validation error; ``hub.base.toml.problems`` describes the possible *context*."""
    # With the message as a field, braces in it are not placeholders.
    return PydanticCustomError(kind, "{message}", {"message": message, **context})


def url_parts(url: str, *schemes: str) -> SplitResult | None:
    """Split the address of a server; None: it has another scheme, or is none that a client would call."""
    try:
        return urlsplit(url) if parse_target(url).scheme in schemes else None
    except ValueError:
        return None


def accepted(check: Callable[[Any], object], kind: str) -> AfterValidator:
    """Return a validator that converts a value by *check*, whose errors become refusals of *kind*."""

    def validate(value: object) -> object:
        try:
            return check(value)
        except HubError as error:
            raise refusal(kind, str(error)) from error

    return AfterValidator(validate)


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError, RecursionError) as error:  # the last one for many slashes
        hint = did_you_mean(name, available_timezones()) or 'as in "Europe/Berlin"'
        raise refusal("timezone", "no such time zone", hint=hint) from error
    return name


def _instant(value: object) -> object:
    if not isinstance(value, datetime) or value.tzinfo is None:
        message = "a date, a time of day and its offset from UTC are expected"
        raise refusal("instant", message, hint="as in 2026-12-01T09:00:00+01:00, without quotes")
    return value


def relative_to_settings(file: Path, info: ValidationInfo) -> Path:
    """Resolve a path of hub.toml relative to the folder of the file."""
    if "\0" in str(file):
        raise refusal("path", "a path has no null character")
    expanded = os.path.expanduser(file)
    if expanded.startswith("~"):
        what = "this user has no home folder" if file.parts[0] == "~" else "there is no such user"
        raise refusal("path", what, hint="write the path out")
    return Path((info.context or {}).get("base", Path())) / expanded


def shaped(pattern: str, *examples: str) -> WithJsonSchema:
    """Return what the JSON Schema says of a text whose validator knows more; editors use it."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


SettingsPath = Annotated[Path, AfterValidator(relative_to_settings)]
# used in URLs and on command lines
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,63}$(?!\n)")]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=1, le=2**53)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=WEEK_S)]
Delay = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=WEEK_S)]  # 0: none
Usd = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=100_000)]
Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]
TimeZone = Annotated[
    str,
    AfterValidator(_timezone),
    shaped(r"^[A-Za-z][\w+-]*(/[\w+-]+)*$", "Europe/Berlin", "UTC"),
]
Instant = Annotated[datetime, BeforeValidator(_instant)]


CREDENTIALS = "CREDENTIALS_DIRECTORY"  # set by systemd for a unit with LoadCredential=
IN_THE_OPEN = "a secret must not be written in this file"
REFER_TO_IT = 'name where it is: { env = "NAME" } or { file = "PATH" }'


class SecretMissing(HubError):
    """Unresolvable reference: no such variable or file, or an empty one."""

    code = ErrorCode.BAD_SETTINGS


class SecretRef(BaseModel):
    """Reference to a secret. A relative *file* is in the folder of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")

    env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the secret."
    )
    file: SettingsPath | None = Field(
        default=None, description="File that holds the secret, relative to the folder of hub.toml."
    )
    credential: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]{0,63}$(?!\n)",
        description="Name of the credential that systemd's LoadCredential= provides.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_a_reference(cls, value: object) -> object:
        if isinstance(value, str):
            raise PydanticCustomError(
                "literal_secret", "{message}", {"message": IN_THE_OPEN, "hint": REFER_TO_IT}
            )
        return value

    @model_validator(mode="after")
    def _is_one_of_the_three(self) -> Self:
        given = [place for place in (self.env, self.file, self.credential) if place is not None]
        if len(given) > 1:
            raise PydanticCustomError("secret_reference", "only one of env, file and credential is meant")
        if not given:
            raise PydanticCustomError("secret_reference", "give one of env, file and credential")
        return self

    def resolve(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the secret without surrounding white space.

        Raises:
            SecretMissing: the secret does not exist; the message names its place.
        """
        if self.env is not None:
            found = environ.get(self.env, "").strip()
            if not found:
                raise SecretMissing(
                    f"the environment variable {self.env} is not set; set it where the hub starts, and"
                    " restart the hub; or name a { file = PATH }"
                )
            return found
        file = self._file_in(environ)
        try:
            found = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise SecretMissing(f"cannot read {file}: {reason}") from error
        if not found:
            raise SecretMissing(f"{file} is empty")
        return found

    def _file_in(self, environ: Mapping[str, str]) -> Path:
        if self.file is not None:
            return self.file
        assert self.credential is not None
        folder = environ.get(CREDENTIALS)
        if not folder:
            raise SecretMissing(f"there is no credential {self.credential}: {CREDENTIALS} is not set")
        return Path(folder) / self.credential

    @property
    def place(self) -> str:
        """Place of the secret, in readable form."""
        if self.env is not None:
            return f"the environment variable {self.env}"
        return f"the credential {self.credential}" if self.file is None else str(self.file)
