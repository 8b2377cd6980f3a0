"""Options that several commands share, and the group whose first command may be left out."""

import os
from pathlib import Path

import click


def state_folder(chosen: str | None = None) -> Path:
    """The folder with all that a hub keeps: *chosen*, else the service manager's, else the user's."""
    if chosen:
        return Path(chosen).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd lists several with colons between
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "hub"


def _resolve(ctx: click.Context, _: click.Parameter, chosen: str | None) -> Path:
    return state_folder(chosen or ctx.find_root().params.get("state"))


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_resolve,
    help="The state folder [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/hub].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class ListByDefault(click.Group):
    """A group in which no command means ``ls``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["ls", *args]
        return super().parse_args(ctx, args)
