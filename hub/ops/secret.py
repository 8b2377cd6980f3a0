"""Secrets by reference: ``{ env = "NAME" }`` or ``{ file = "PATH" }``, never the secret itself."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from protocol.errors import ErrorCode, HubError

# What providers' keys and our own tokens look like.
_LOOKS_SECRET = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|hub_(dev|inv|op)_\w{8,}|gh[pousr]_\w{16,}|xox[abprs]-\S{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s@]+@"
)


IN_THE_OPEN = "a secret does not stand in this file"
REFER_TO_IT = 'name where it is: { env = "NAME" } or { file = "PATH" }'


class SecretMissing(HubError):
    """The reference leads nowhere: no such variable or file, or it is empty."""

    code = ErrorCode.BAD_SETTINGS


class SecretRef(BaseModel):
    """Where a secret is found. A relative *file* lies beside the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: Path | None = None

    @field_validator("file")
    @classmethod
    def _beside_the_settings(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is None:
            return None
        base = (info.context or {}).get("base", Path())
        return Path(base) / file.expanduser()

    @model_validator(mode="before")
    @classmethod
    def _is_a_reference(cls, value: object) -> object:
        if isinstance(value, str):
            raise PydanticCustomError("literal_secret", "{said}", {"said": IN_THE_OPEN, "hint": REFER_TO_IT})
        return value

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise PydanticCustomError("secret_reference", "give either env or file")
        return self

    def resolve(self, environ: Mapping[str, str] = os.environ) -> str:
        """The secret itself, without white space around it.

        Raises:
            SecretMissing: there is none; the message says where it was looked for.
        """
        if self.env is not None:
            found = environ.get(self.env, "").strip()
            if not found:
                raise SecretMissing(f"the environment variable {self.env} is not set")
            return found
        assert self.file is not None
        try:
            found = self.file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise SecretMissing(f"cannot read {self.file}: {reason}") from error
        if not found:
            raise SecretMissing(f"{self.file} is empty")
        return found

    def is_open_to_others(self) -> bool:
        """Whether the secret's file may be read by more than its owner."""
        if self.file is None:
            return False
        try:
            return bool(stat.S_IMODE(self.file.stat().st_mode) & 0o077)
        except OSError:
            return False


def looks_secret(text: str) -> bool:
    """Whether *text* has something in it that looks like a key, a token or a password."""
    return _LOOKS_SECRET.search(text) is not None
