"""A cron expression as it stands in hub.toml: read, refused where readers would differ, known to fire.

Five fields or an ``@name``, after Debian's cron. Nothing here fires anything; the
question is only whether the text means one thing, and whether that ever happens.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from croniter import CroniterBadDateError, CroniterError, croniter

from protocol.errors import ErrorCode, HubError

MAX_LENGTH: Final = 256  # croniter takes 230 ms for 40 kB
YEARS_AHEAD: Final = 8  # from one 29 February to the next across 2100
_FROM: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - a fixed start: the verdict must not change with the day

_NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ITEM: Final = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)
_NEAREST_WEEKDAY: Final = re.compile(r"(\d+)W", re.ASCII)
_NTH_WEEKDAY: Final = re.compile(r"(\w+)#([1-5])", re.ASCII)
_LAST_WEEKDAY: Final = re.compile(r"(\w+?)#?L", re.ASCII)


class BadSchedule(HubError):
    """The expression is refused. *reason* is a stable word, *hint* what to write instead."""

    code = ErrorCode.BAD_SCHEDULE

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} - {hint}" if hint else message)
        self.reason = reason
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Cron:
    """A checked expression.

    Attributes:
        text: five fields in croniter's spelling.
        day_or: whether a day fires when either day field fits (cron's rule), or only when both do (``+``).
        warning: what a reader may not expect.
    """

    text: str
    day_or: bool = True
    warning: str | None = None


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of the values, from *low* on

    def number(self, word: str) -> int:
        if word.isdigit() and self.low <= int(word) <= self.high:
            return int(word)
        if word.lower() in self.names:
            return self.low + self.names.index(word.lower())
        if word in ("H", "R"):
            raise BadSchedule("use_jitter", f"{self.name}: '{word}' is not a value", "choose one yourself")
        allowed = f"{self.low}-{self.high}" + (f" or {self.names[0]}-{self.names[-1]}" if self.names else "")
        raise self.refusal(f"'{word}' is not a value", f"allowed is {allowed}")

    def refusal(self, message: str, hint: str = "", reason: str = "bad_field") -> BadSchedule:
        return BadSchedule(reason, f"{self.name}: {message}", hint)


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY: Final = _Field("day of month", 1, 31)
_WEEKDAY: Final = _Field("weekday", 0, 7, _WEEKDAYS)  # 7 is Sunday too
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _DAY,
    _Field("month", 1, 12, _MONTHS),
    _WEEKDAY,
)


def parse_cron(text: str) -> Cron:
    """Check a cron expression.

    Raises:
        BadSchedule: it is malformed, would be read differently elsewhere, or never fires.
    """
    if len(text) > MAX_LENGTH:
        raise BadSchedule("too_long", f"longer than {MAX_LENGTH} characters")
    fields = _split(text.strip(" \t"))
    day_or = not fields[4].startswith("+")
    fields[4] = fields[4].removeprefix("+")
    spelled = [
        ",".join(_item(field, item) for item in written.split(","))
        for field, written in zip(_FIELDS, fields, strict=True)
    ]
    cron = Cron(" ".join(spelled), day_or, _judge_days(fields[2], fields[4]) if day_or else None)
    _must_fire(cron)
    return cron


def _split(text: str) -> list[str]:
    if text.startswith("@every"):
        raise BadSchedule("use_interval_trigger", "'@every' is not a time of day", "write */5 * * * *, say")
    if text.startswith("@"):
        if text not in _NAMED:
            known = ", ".join(_NAMED)
            raise BadSchedule("unsupported_macro", f"'{text.split()[0]}' is not known", f"known are {known}")
        text = _NAMED[text]
    if re.match(r"(CRON_)?TZ=", text):
        raise BadSchedule("use_timezone_setting", "a time zone does not stand here", "set timezone instead")
    fields = re.split(r"[ \t]+", text)
    if len(fields) != len(_FIELDS) or not text:
        count = len(fields) if text else 0
        raise BadSchedule(
            "field_count",
            f"{count} fields instead of five",
            "write minute hour day-of-month month weekday" + ("; there are no seconds" if count > 5 else ""),
        )
    return fields


def _item(field: _Field, item: str) -> str:
    """One of a field's items in croniter's spelling."""
    if field is _DAY and item == "L":
        return "L"
    if field is _DAY and (found := _NEAREST_WEEKDAY.fullmatch(item)):
        return f"{field.number(found[1])}W"
    if field is _WEEKDAY and (found := _NTH_WEEKDAY.fullmatch(item)):
        return f"{field.number(found[1]) % 7}#{found[2]}"
    if field is _WEEKDAY and (found := _LAST_WEEKDAY.fullmatch(item)):
        return f"L{field.number(found[1]) % 7}"
    found = _ITEM.fullmatch(item)
    if found is None:
        raise field.refusal(f"'{item}' cannot be read")
    first, last, step = found["first"], found["last"], found["step"]
    if first == "*":
        if last is not None:
            raise field.refusal(f"'{item}' cannot be read")
        span = field.high - field.low + 1 - (field is _WEEKDAY)
    else:
        low = field.number(first)
        if last is None:
            if step is not None:
                raise field.refusal(
                    f"'{item}' is read differently elsewhere",
                    f"write {first}-{field.high}/{step}",
                    "bare_start_step",
                )
            return item
        high = field.number(last)
        if low == high:
            raise field.refusal(f"'{item}' is one value", f"write {first}", "equal_range")
        if low > high:
            raise field.refusal(
                f"'{item}' runs backwards", "write two ranges, as in 22-23,0-2", "wrapping_range"
            )
        span = high - low + 1
    if step is not None and int(step) == 0:
        raise field.refusal(f"'{item}' has a step of 0")
    if step is not None and int(step) > span:
        raise field.refusal(f"'{item}' steps over its whole range", reason="step_too_large")
    return item


def _judge_days(day: str, weekday: str) -> str | None:
    """A warning where both day fields are restricted; cron then fires when either fits."""
    if "*" in (day, weekday):
        return None
    if any(field.startswith("*/") or re.search(r"[#L]|\dW", field) for field in (day, weekday)):
        raise BadSchedule(
            "ambiguous_day_fields",
            "day of month and weekday together are read differently elsewhere",
            "leave one of them *, or put + before the weekday if both must fit",
        )
    return "fires when the day of month or the weekday fits; put + before the weekday if both must"


def _must_fire(cron: Cron) -> None:
    try:
        croniter(
            cron.text,
            _FROM,
            day_or=cron.day_or,
            implement_cron_bug=True,
            max_years_between_matches=YEARS_AHEAD,
        ).get_next(datetime)
    except CroniterBadDateError as error:
        raise BadSchedule("never_fires", f"never fires within {YEARS_AHEAD} years") from error
    except CroniterError as error:
        raise BadSchedule("bad_field", str(error)) from error
