"""Types of values that several tables of hub.toml share, and the error that refuses a value."""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from hub.settings.problems import did_you_mean

WEEK_S = 7 * 86_400
YEAR_S = 366 * 86_400


class Table(BaseModel):
    """Base of all tables of hub.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refusal(kind: str, message: str, **context: str) -> PydanticCustomError:
    """Return a validation error; ``hub.settings.problems`` describes the possible *context*."""
    # With the message as a field, braces in it are not placeholders.
    return PydanticCustomError(kind, "{said}", {"said": message, **context})


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        hint = did_you_mean(name, available_timezones()) or 'as in "Europe/Berlin"'
        raise refusal("timezone", "no such time zone", hint=hint) from error
    return name


def _instant(value: object) -> object:
    if not isinstance(value, datetime) or value.tzinfo is None:
        message = "a date, a time of day and its offset from UTC are expected"
        raise refusal("instant", message, hint="as in 2026-12-01T09:00:00+01:00, without quotes")
    return value


def beside_the_settings(file: Path, info: ValidationInfo) -> Path:
    """Resolve a path of hub.toml relative to the folder of the file."""
    if "\0" in str(file):
        raise refusal("path", "a path has no null character")
    try:
        return Path((info.context or {}).get("base", Path())) / file.expanduser()
    except RuntimeError as error:  # ~user with an unknown user
        raise refusal("path", "there is no such user", hint="write the path out") from error


Beside = Annotated[Path, AfterValidator(beside_the_settings)]
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,63}$")]  # used in URLs and on command lines
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=1, le=2**53)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=WEEK_S)]
Delay = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=WEEK_S)]  # 0: none
Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
