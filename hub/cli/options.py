"""Options and argument types shared by commands: times, durations, names, state folder."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from hub.base.printable import shell_word, typed_problem
from hub.cli.errors import CommandError, Exit, using
from hub.cli.waiting import set_alarm
from protocol.similar_names import nearest

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

SETTINGS: Final = "hub.toml"  # name of the settings file
URL: Final = "hub.url"  # key of ctx.meta: address of a hub that is not on this machine
TOKEN_FILE: Final = "hub.token_file"
USER: Final = "hub.user"
STATE: Final = "hub.state"
NODE: Final = "hub.node"

EXTERNAL: Final = "external:"  # before the identifier of an agent in another program: any characters
MAX_OF_NAME: Final = 255  # characters
MAX_OF_TEXT: Final = 100_000  # characters; a system passes 128 KiB in one argument
MAX_OF_PATH: Final = 4_095  # bytes; as PATH_MAX of Linux
MAX_OF_FILE: Final = 255  # bytes of each name in a path; as NAME_MAX of Linux
_DURATION: Final = re.compile(r"(\d+)\s*(s|m|min|h|d|w)")
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
FORMS: Final = "2h, today 09:00, yesterday 18:00, 2026-11-20, '2026-11-20 18:00', 2026-11-20T18:00+01:00"
_DAY: Final = re.compile(
    r"(?:(?P<word>[a-z]+)|(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})?)"
    r"(?: +(?P<time>\d{1,2}:\d{2}))?"
)
_DAYS: Final = {"gestern": -1, "yesterday": -1, "heute": 0, "today": 0, "morgen": 1, "tomorrow": 1}


class TextParam(click.ParamType[str]):
    """Type of texts of one to *most* characters, which are not all blank and no control characters."""

    name = "text"
    expected = "a text"

    def __init__(self, most: int = MAX_OF_TEXT, blanks: str = "\n\r\t") -> None:
        self.most, self.blanks = most, blanks

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if problem := self.problem(value) or _option_problem(value, param, ctx):
            self.fail(f"it {problem}; expected {self.expected}", param, ctx)
        return value

    def problem(self, value: str) -> str:
        """Return why *value* is refused, or an empty text."""
        return typed_problem(value, self.most, blanks=self.blanks)


class NameParam(TextParam):
    """Type of names and ids: texts that are no paths and no options, since each is one part of an address."""

    expected = "a name or an id"

    def problem(self, value: str) -> str:
        if problem := super().problem(value):
            return problem
        if value.startswith("-"):
            return "begins with - as an option does"
        is_path = value in (".", "..") or bool({"/", "\\"} & set(value))
        return "is a path" if is_path and not value.startswith(EXTERNAL) else ""


class FilePathParam(click.Path):
    """Type of paths on this machine, not empty, of any characters; *limits* are those of ``click.Path``."""

    def __init__(self, **limits: Any) -> None:
        # The reader of a file names what mends that.
        super().__init__(path_type=Path, readable=not limits.get("file_okay", True), **limits)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        typed = os.fsencode(text).decode("latin-1")  # a name may have any bytes
        problem = typed_problem(typed, MAX_OF_PATH, blanks=typed.replace("\0", ""))
        if not problem and any(len(os.fsencode(part)) > MAX_OF_FILE for part in text.split("/")):
            problem = f"has a name of more than {MAX_OF_FILE} bytes"
        if problem := problem or _option_problem(text, param, ctx):
            self.fail(f"it {problem}; expected a path", param, ctx)
        return super().convert(value, param, ctx)


def _option_problem(value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return a problem if the value of an option is an option of the command: its own value is missing."""
    if ctx is None or not isinstance(param, click.Option):
        return ""
    flags = {flag for param in ctx.command.get_params(ctx) for flag in (*param.opts, *param.secondary_opts)}
    return f"is {value}, another option of this command" if value in flags else ""


NAME: Final = NameParam(MAX_OF_NAME, blanks="")
TEXT: Final = TextParam()


def check_texts(command: click.Command) -> None:
    """Set the types of the texts of a command, and of the commands below it."""
    for param in command.params:
        if isinstance(param.type, click.types.StringParamType):
            param.type = NAME if param._custom_shell_complete else TEXT
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        check_texts(inner)


def example(command: str) -> str:
    """Return the example at the end of a command's help."""
    return f"\b\nExample:\n  {command}"


def state_folder(chosen: str | None = None) -> Path:
    """Return the absolute path of the state folder: *chosen*, else the service manager's, else the user's.

    Raises:
        Failure: none of them is known.
    """
    folder = Path(os.path.expanduser(chosen)).absolute() if chosen else default_state()
    if folder is None:
        from hub.base.system.processes import user_name

        message = f"{user_name()} has no home folder, so the state folder is not known"
        raise CommandError(message, Exit.USAGE, next_step="name it: --state DIR")
    return folder


def default_state() -> Path | None:
    """Return the state folder of commands without ``--state``; None for a user without a home."""
    if folders := os.environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]).absolute()  # systemd lists several with colons between
    of_system = os.environ.get("LOCALAPPDATA") or "~/.local/state"  # the first one is of Windows
    base = os.path.expanduser(os.environ.get("XDG_STATE_HOME") or of_system)
    return None if base.startswith("~") else (Path(base) / "hub").absolute()


def _resolve(ctx: click.Context, _: click.Parameter, chosen: str | None) -> Path | str | None:
    if ctx.parent is None:
        return chosen  # of the program: a command may have its own, and needs no other
    exists = not chosen or os.path.exists(os.path.expanduser(chosen))
    if chosen and not exists and (option := _filter_of(ctx, chosen)):
        raise click.BadParameter(f"names the state folder, and there is none called {chosen}: {option}")
    return state_folder(chosen or ctx.find_root().params.get("state"))


def _filter_of(ctx: click.Context, value: str) -> str | None:
    """Return the option that filters by *value* or a similar word, as it is spelled there; else the help."""
    hints, flags, rest = dict[str, str](), dict[str, str](), ""
    for option in ctx.command.params:
        mean = f"did you mean {option.opts[0]}"
        hints |= {str(choice): f"{mean} {choice}?" for choice in getattr(option.type, "choices", ())}
        if getattr(option, "is_flag", False):
            flags[option.opts[0].removeprefix("--")] = f"{mean}?"
        # of a list that leaves states out, and has no option for a state alone
        if option.name in ("field_verdict_null", "field_state_null"):
            hints |= {
                state: f"{state} ones are listed without it" for state in ("open", "pending", "waiting")
            }
            rest = f"{mean}?"
    hints |= {} if rest and value not in flags else flags
    if near := nearest(value, hints):
        return hints[near]
    if rest:
        return rest
    asks_a_hub = any("--url" in option.opts for option in ctx.command.params)
    return f"see {ctx.command_path} --help" if asks_a_hub and Path(value).name == value else None


def _settings_file(ctx: click.Context, _: click.Parameter, chosen: Path | None) -> Path:
    """Return *chosen*, else the file of a state folder that was named, of this folder, of the usual state."""
    named = ctx.find_root().params.get("state")
    if ctx.get_parameter_source("state") is ParameterSource.COMMANDLINE:
        named = ctx.params["state"]
    here = Path(SETTINGS)
    if named is not None:
        known = [state_folder(str(named)) / SETTINGS, here]
    else:  # hub up writes its file into the usual folder
        known = [here] + [folder / SETTINGS for folder in (default_state(),) if folder is not None]
    return chosen or next(filter(Path.is_file, known), here)


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_resolve,
    is_eager=True,  # the settings file may be in it
    help="The state folder [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/hub].",
)
config_option = click.option(
    "--config",
    type=FilePathParam(),
    callback=_settings_file,
    help="The settings file [default: hub.toml in DIR of --state if it is there, else in this folder; "
    "without --state and one here, that of the usual state folder].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _remembered(
    name: str, key: str, metavar: str, help: str, type: Any = None
) -> Callable[[CommandT], CommandT]:
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
    FilePathParam(),
)
user_option = _remembered("--user", USER, "NAME", "Limit the command to one user.", NAME)
device_state_option = _remembered("--state", STATE, "DIR", "The state folder, with the devices of this user.")
node_option = _remembered("--node", NODE, "NODE", "Ask this node of the hub.", NAME)


class DurationParam(click.ParamType[float]):
    """Option type for durations, as in ``90d``, ``12h``, ``10m``; converts them to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            found = _seconds(value)
        except (ValueError, OverflowError):  # of more digits than a number may have
            found = None
        if not found:
            self.fail(f"{value!r} is not a duration; write it as in 90d, 12h, 10m or 30s", param, ctx)
        return found


def _seconds(text: str) -> float | None:
    """Parse a duration, as in ``90d``; None: *text* is none."""
    found = _DURATION.fullmatch(text.strip().lower())
    return None if found is None else float(int(found[1]) * _UNITS_S[found[2]])


timeout_option = click.option(
    "--timeout",
    type=DurationParam(),
    metavar="TIME",
    expose_value=False,
    callback=set_alarm,
    help="End the command with exit code 75 after this time, as in 30s, 10m or 2h.",
)


def hub_option(command: CommandT) -> CommandT:
    """Add the options that select hub, user and node, and ``--timeout``."""
    for option in (timeout_option, node_option, user_option, token_file_option, url_option, state_option):
        command = option(command)
    return command


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
        own = 2 if args[:1] == ["--"] else 1
        name, rest = args[:own], args[own:]
        if name and name[0] in self.commands and (not rest or rest[0] not in self.commands):
            raise click.MissingParameter(ctx=ctx, param=self.params[0])
        if own == 1 and rest and rest[0] in ctx.help_option_names:
            name, rest = [], rest[:1]
        elif name and not name[0].startswith("-") and (not rest or rest[0].startswith("-")):
            rest = ["ls", *rest]
        return super().parse_args(ctx, [*name, *rest])


class TimeParam(click.ParamType[str]):
    """Option type for a time: a duration ago, a time of today or yesterday, a date, or an ISO 8601 instant.

    Without an offset it is in the zone of this machine. The value is the instant as ISO 8601, in UTC: the
    begin of a day, and its end for an option ``--until``.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            at = _moment(value.strip(), is_end=param is not None and param.name == "until")
            return at.astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; write it in one of these forms: {FORMS}", param, ctx)


def _moment(text: str, *, is_end: bool) -> datetime:
    from hub.cli import show  # imported late, so that hub --help stays fast

    now = show.clock.now()
    if (ago_s := _seconds(text)) is not None:
        return now - timedelta(seconds=ago_s)
    today, found = now.astimezone().date(), _DAY.fullmatch(text)
    if found and found["word"] in _DAYS:
        day = today + timedelta(days=_DAYS[found["word"]])
    elif found and found["day"]:
        day = date(int(found["year"] or today.year), int(found["month"]), int(found["day"]))
    elif len(text) == len("2026-11-20"):
        day = date.fromisoformat(text)
    else:
        return datetime.fromisoformat(text)
    at = found and found["time"]
    hour, minute = map(int, (at or "0:00").split(":"))
    return datetime.combine(day + timedelta(days=is_end and not at), time(hour, minute))


def moment_option(name: str, help: str, *, default: str | None = None) -> Callable[[Any], Any]:
    """Return an option that takes a time."""
    help = f"{help}: {FORMS}."
    return click.option(name, type=TimeParam(), default=default, show_default=True, metavar="TIME", help=help)


class JsonObjectParam(click.ParamType[dict[str, Any]]):
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
    return click.option(name, type=JsonObjectParam(), metavar="JSON", help=help, required=required)


def keys_of(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return each value of the settings with its dotted key; tables of a list are keyed by their names."""
    for name, value in settings.items():
        key = f"{path}.{name}" if path else name
        match value:
            case dict():
                yield from keys_of(value, key)
            case [dict(), *_]:
                for entry in value:
                    yield from keys_of(entry, f"{key}.{entry['name']}")
            case _:
                yield key, value


def table_in(file: Path) -> dict[str, Any]:
    """Return the table in a TOML or JSON file.

    Raises:
        Failure: the file cannot be read, or has no table.
    """
    text = text_in(file)
    try:
        table = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"cannot read {file}: {error}", Exit.USAGE) from error
    if not isinstance(table, dict):
        raise CommandError(f"{file}: expected a TOML table or a JSON object", Exit.USAGE)
    return {key: _plain(value) for key, value in table.items()}


def text_in(file: Path) -> str:
    """Return the text of a file, or of the standard input for ``-``. Raises Failure."""
    with using(file, "read", Exit.USAGE), click.open_file(str(file), encoding="utf-8") as opened:
        text: str = opened.read()
        return text


def secret_in(file: Path) -> str:
    """Return the token or the invitation in a file; report a file that others may read. Raises Failure."""
    from hub.cli import show

    with using(file, "read", Exit.UNAVAILABLE):
        text = file.read_text("utf-8").strip()
        is_open = bool(file.stat().st_mode & 0o077)
    if is_open:
        show.report(f"warning: others may read {file}; chmod 600 {shell_word(file)}")
    return text


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
