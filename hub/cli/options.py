"""Options that several commands share, and groups with a default command."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

URL: Final = "hub.url"  # key of ctx.meta: address of a hub that is not on this machine
TOKEN_FILE: Final = "hub.token_file"
USER: Final = "hub.user"

_DURATION: Final = re.compile(r"(\d+)\s*(s|m|min|h|d|w)")
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


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
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _remember(key: str) -> Callable[[click.Context, click.Parameter, object], None]:
    """Store an option where ``talk`` finds it. The option of a command overrides that of its group."""

    def keep(ctx: click.Context, _: click.Parameter, value: object) -> None:
        if value is not None:
            ctx.meta[key] = value

    return keep


url_option = click.option(
    "--url",
    metavar="URL",
    expose_value=False,
    callback=_remember(URL),
    help="Use the hub at URL, as in https://host:8771, instead of the one on this machine.",
)
token_file_option = click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    expose_value=False,
    callback=_remember(TOKEN_FILE),
    help="File with the operator's token for --url [default: $HUB_TOKEN_FILE].",
)
user_option = click.option(
    "--user",
    metavar="NAME",
    expose_value=False,
    callback=_remember(USER),
    help="Limit the command to one user.",
)


def hub_option(command: Command) -> Command:
    """Add the options that select hub and user: ``--state``, ``--url``, ``--token-file``, ``--user``."""
    for option in (user_option, token_file_option, url_option, state_option):
        command = option(command)
    return command


class Duration(click.ParamType[float]):
    """Option type for durations, as in ``90d``, ``12h``, ``10m``; converts them to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(value.strip().lower())
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is not a duration; write it as in 90d, 12h, 10m or 30s", param, ctx)
        return float(int(found[1]) * _UNITS_S[found[2]])


class ListByDefault(click.Group):
    """Group in which no command means ``ls``, and a word that is no command is the NAME of ``show NAME``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
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
