"""The command ``hub``. A command's module is imported when it is called, so that ``--help`` stays cheap."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from hub.cli.failure import as_failure
from hub.cli.options import token_file_option, url_option, user_option


class _Command(NamedTuple):
    module: str
    help: str  # as the command's own docstring begins; a test keeps them equal


COMMANDS = {
    "help": _Command("help", "List the topics of the handbook, or print the page of one."),
    "init": _Command("daemon", "Write a commented hub.toml and make the state folder."),
    "serve": _Command("daemon", "Run the hub in the foreground."),
    "check": _Command("check", "Check a settings file, all of it at once."),
    "reload": _Command("check", "Let the running hub take up its settings file."),
    "config": _Command("config", "Show the settings, and change them in the file."),
    "schema": _Command("check", "Print the JSON Schema of the settings file."),
    "demo": _Command("daemon", "Show the main job end to end, with a model on this machine."),
    "status": _Command("service", "Show the running hub on one screen."),
    "devices": _Command("devices", "List the devices that are known, show one, rename it, throw it out."),
    "pair": _Command("pair", "Let devices in: by the code that one shows, or by an invitation."),
    "users": _Command("users", "List the users, who own devices and agents; make or remove one."),
    "agents": _Command("agents", "List the agents, show one, say when they run, pause them."),
    "templates": _Command("templates", "List the templates of agents, show one, write or remove one."),
    "run": _Command("run", "Start a run of an agent."),
    "runs": _Command("runs", "List runs, show one, stop it or let it go on."),
    "locks": _Command("locks", "Show who holds which lock and who waits, or take one from its holder."),
    "gateways": _Command(
        "gateways", "List the gateways, show one, try it again, or take over an agent that lives there."
    ),
    "connectors": _Command(
        "connectors",
        "List the connectors, try one, sign in to it, or give back what was granted to it.",
    ),
    "boards": _Command(
        "boards",
        "List the boards, on which agents work together; make one, say who is on it, read its memory.",
    ),
    "messages": _Command(
        "messages",
        "List the messages between agents, say something to an agent, take one back or try it again.",
    ),
    "ask": _Command("ask", "List what agents want to know of people, ask, answer, or take a question back."),
    "costs": _Command("costs", "Show what models cost, tries that failed included."),
    "eval": _Command("evaluate", "Measure how well an agent finds what a person found."),
    "token": _Command("token", "Make, list and revoke the tokens of devices and of operators."),
    "keys": _Command(
        "keys", "List the keys that seal sign-ins, seal everything by a new one, or forget an old one."
    ),
    "doctor": _Command("doctor", "Say what a person should see to, and what to do about it."),
    "audit": _Command("audit", "Show who changed what, and check that nobody changed that."),
    "routes": _Command("routes", "Show what may be asked of a hub, and which roles may."),
    "drain": _Command("upkeep", "Stop the running hub in good order."),
    "backup": _Command("upkeep", "Back the hub up into one new file, or check one."),
    "restore": _Command("upkeep", "Put a backup in the place of the hub's state."),
    "migrate": _Command("migrate", "Bring the database to this release's tables, or hold it against them."),
    "install-unit": _Command("units", "Install the hub as a service of systemd."),
    "logs": _Command("logs", "Show the last events of the hub's log."),
    "debug": _Command("debug", "Look inside a running hub, or pack what helps to find a fault."),
    "answer": _Command(
        "answer", "Show what agents want to know of you, or answer question NUMBER with TEXT."
    ),
    "review": _Command("review", "Show what was found for you, approve it or reject it."),
    "grants": _Command("grants", "Show what you grant the hub of a device on this machine, or change it."),
    "connect": _Command("connect", "Be a device: share folders, keep what is found in them."),
}


class LazyGroup(click.Group):
    """The commands of the table above, in its order, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"hub.cli.{COMMANDS[name].module}"), name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click looks for likely names among loaded commands
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no traceback reaches a person who did not ask for it."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise as_failure(error) from error


def _tell_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Show the version and exit."""
    if wanted and not ctx.resilient_parsing:
        from hub.version import VERSION

        click.echo(f"hub, version {VERSION}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", metavar="DIR", help="The hub's state folder; the commands that use one take it too.")
@url_option
@token_file_option
@user_option
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version.",
)
def hub(state: str | None, debug: bool) -> None:
    """A hub for people's devices: agents read what they share and bring back what they find.

    A first run: hub init, hub serve, hub connect, hub pair approve, hub run.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: runs the command and ends the process with its exit code."""
    hub(args=args, prog_name="hub")
    sys.exit(0)
