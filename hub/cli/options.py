"""Options and their types that several commands share, completion of names, and groups with a default."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hub.cli.failure import Exit, Failure

Command = TypeVar("Command", bound=Callable[..., Any])

URL: Final = "hub.url"  # key of ctx.meta: address of a hub that is not on this machine
TOKEN_FILE: Final = "hub.token_file"
USER: Final = "hub.user"
NODE: Final = "hub.node"

_DURATION: Final = re.compile(r"(\d+)\s*(s|m|min|h|d|w)")
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
FORMS: Final = "2h, today 09:00, yesterday 18:00, 2026-11-20, '2026-11-20 18:00', 2026-11-20T18:00+01:00"
_DAY: Final = re.compile(r"(today|yesterday)(?: +(\d{1,2}:\d{2}))?")


def example(command: str) -> str:
    """Return the example at the end of a command's help."""
    return f"\b\nExample:\n  {command}"


def state_folder(chosen: str | None = None) -> Path:
    """Return the absolute path of the state folder: *chosen*, else the service manager's, else the user's."""
    if chosen:
        folder = Path(chosen)
    elif folders := os.environ.get("STATE_DIRECTORY"):
        folder = Path(folders.split(":")[0])  # systemd lists several with colons between
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "hub"
    return folder.expanduser().absolute()


def _resolve(ctx: click.Context, _: click.Parameter, chosen: str | None) -> Path:
    return state_folder(chosen or ctx.find_root().params.get("state"))


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_resolve,
    help="The state folder [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/hub].",
)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default="hub.toml",
    show_default=True,
    help="The settings file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _remembered(
    name: str, key: str, metavar: str, help: str, type: Any = None
) -> Callable[[Command], Command]:
    """Return an option that ``talk`` finds in ctx.meta. That of a command overrides that of its group."""

    def keep(ctx: click.Context, _: click.Parameter, value: object) -> None:
        if value is not None:
            ctx.meta[key] = value

    return click.option(name, metavar=metavar, type=type, expose_value=False, callback=keep, help=help)


url_option = _remembered(
    "--url", URL, "URL", "Use the hub at URL, as in https://host:8771, instead of the one on this machine."
)
token_file_option = _remembered(
    "--token-file",
    TOKEN_FILE,
    "FILE",
    "File with the operator's token for --url [default: $HUB_TOKEN_FILE].",
    click.Path(path_type=Path),
)
user_option = _remembered("--user", USER, "NAME", "Limit the command to one user.")
node_option = _remembered("--node", NODE, "NODE", "Ask this node of the hub.")


def hub_option(command: Command) -> Command:
    """Add the options that select hub, user and node."""
    for option in (node_option, user_option, token_file_option, url_option, state_option):
        command = option(command)
    return command


class Duration(click.ParamType[float]):
    """Option type for durations, as in ``90d``, ``12h``, ``10m``; converts them to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _seconds(value)
        if not found:
            self.fail(f"{value!r} is not a duration; write it as in 90d, 12h, 10m or 30s", param, ctx)
        return found


def _seconds(text: str) -> float | None:
    """Parse a duration, as in ``90d``; None: *text* is none."""
    found = _DURATION.fullmatch(text.strip().lower())
    return None if found is None else float(int(found[1]) * _UNITS_S[found[2]])


class ListByDefault(click.Group):
    """Group in which no command means ``ls``, and a word that is no command is the NAME of ``show NAME``.

    ``ls NAME`` means ``show NAME``, too.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if len(args) > 1 and args[0] == "ls" and not args[1].startswith("-") and "show" in self.commands:
            args = args[1:]
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            is_name = args and not args[0].startswith("-") and "show" in self.commands
            args = ["show" if is_name else "ls", *args]
        return super().parse_args(ctx, args)


class ListOfOne(click.Group):
    """Group of commands on one item, ``GROUP NAME COMMAND``, in which a name alone means ``NAME ls``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        name, rest = args[:1], args[1:]
        if rest and rest[0] in ctx.help_option_names:
            name, rest = [], rest[:1]
        elif name and not name[0].startswith("-") and (not rest or rest[0].startswith("-")):
            rest = ["ls", *rest]
        return super().parse_args(ctx, [*name, *rest])


class Moment(click.ParamType[str]):
    """Option type for a time: a duration ago, a time of today or yesterday, a date, or an ISO 8601 instant.

    Without an offset it is in the zone of this machine. The value is the instant as ISO 8601, in UTC.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return _moment(value.strip()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; write it in one of these forms: {FORMS}", param, ctx)


def _moment(text: str) -> datetime:
    from hub.cli import show  # imported late, so that hub --help stays fast

    now = show.clock.now()
    if (ago_s := _seconds(text)) is not None:
        return now - timedelta(seconds=ago_s)
    if day := _DAY.fullmatch(text):
        date = now.astimezone().date() - timedelta(days=day[1] == "yesterday")
        hour, minute = map(int, (day[2] or "0:00").split(":"))
        return datetime.combine(date, time(hour, minute))
    return datetime.fromisoformat(text)


def moment_option(name: str, help: str, *, default: str | None = None) -> Callable[[Any], Any]:
    """Return an option that takes a time."""
    help = f"{help}: {FORMS}."
    return click.option(name, type=Moment(), default=default, show_default=True, metavar="TIME", help=help)


class JsonObject(click.ParamType[dict[str, Any]]):
    """Option type for JSON objects, as in ``{"folder": "inbox"}``."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self.fail(
                f"""{value!r} is not a JSON object; write it as in '{{"folder": "inbox"}}'""", param, ctx
            )
        return parsed


def object_option(name: str, *, help: str, required: bool = False) -> Callable[[Any], Any]:
    """Return an option that takes a JSON object."""
    return click.option(name, type=JsonObject(), metavar="JSON", help=help, required=required)


def keys_of(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return each value of the settings with its dotted key; tables of a list are keyed by their names."""
    for name, value in settings.items():
        key = f"{path}.{name}" if path else name
        match value:
            case dict():
                yield from keys_of(value, key)
            case [dict(), *_]:
                for one in value:
                    yield from keys_of(one, f"{key}.{one['name']}")
            case _:
                yield key, value


def table_in(file: Path) -> dict[str, Any]:
    """Return the table in a TOML or JSON file.

    Raises:
        Failure: the file cannot be read, or has no table.
    """
    try:
        text = file.read_text("utf-8")
        table = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {file}: {error}", Exit.USAGE) from error
    if not isinstance(table, dict):
        raise Failure(f"{file}: expected a TOML table or a JSON object", Exit.USAGE)
    return {key: _plain(value) for key, value in table.items()}


def _plain(value: Any) -> Any:
    """Return *value* with dates and times as text, for JSON."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case date():
            return value.isoformat()
    return value
