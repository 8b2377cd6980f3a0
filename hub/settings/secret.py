"""References to secrets: ``{ env = "NAME" }``, ``{ file = "PATH" }``, ``{ credential = "NAME" }``.

A credential is a file that the service manager provides.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from hub.settings.values import SettingsPath
from protocol.errors import ErrorCode, HubError

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
                raise SecretMissing(f"the environment variable {self.env} is not set")
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


def is_open_to_others(file: Path) -> bool:
    """Return True if other users than its owner may access a secret's file."""
    try:
        return bool(stat.S_IMODE(file.stat().st_mode) & 0o077)
    except OSError:
        return False
