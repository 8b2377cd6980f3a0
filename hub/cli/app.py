"""The command ``hub``: list of all commands, imported only when used."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

import click

from hub.base.version import VERSION
from hub.cli.errors import Exit, as_failure, repeatable
from hub.cli.options import check_texts, node_option, token_file_option, url_option, user_option

DECLARED: Final = "declared"  # module of commands that are written nowhere else


class _Command(NamedTuple):
    module: str  # of this package, or the full name of another program's
    help: str  # the first line of the command's docstring; a test keeps them equal


SECTIONS: Final[dict[str, dict[str, _Command]]] = {
    "Set up": {
        "help": _Command(
            "help", "List the topics of the handbook, print the page of one, or find words in all pages."
        ),
        "up": _Command("up", "Start a hub and the device of this machine, and open the page for review."),
        "down": _Command("up", "Stop the hub and the device that hub up started."),
        "init": _Command("daemon", "Write a commented hub.toml and create the state folder."),
        "check": _Command("config", "Check a settings file and list all its problems at once."),
        "config": _Command("config", "Show the settings, and change them in the file."),
        "tls": _Command("tls", "Make certificates for the listeners, for the local network."),
        "schema": _Command("config", "Print the JSON Schema of the settings file."),
        "reload": _Command("config", "Apply the changed settings file to the running hub."),
        "completion": _Command("help", "Print the script that completes names in a shell."),
        "install-unit": _Command("daemon", "Install the hub as a systemd service."),
        "migrate": _Command("upkeep", "Migrate the database's tables to this release, or compare them."),
        "demo": _Command("daemon", "Run hub, device and agent once over a sample folder."),
    },
    "Run the hub": {
        "serve": _Command("daemon", "Run the hub in the foreground."),
        "status": _Command(DECLARED, "Show the state of the running hub on one screen."),
        "summary": _Command(DECLARED, "Show what happened since a time: runs, items, questions and costs."),
        "metrics": _Command(
            DECLARED, "Show how the hub went over time: runs, verdicts, models, load of its nodes."
        ),
        "doctor": _Command("doctor", "Check the installation and list problems with their fixes."),
        "logs": _Command("logs", "Show the last events of the hub's log."),
        "nodes": _Command(DECLARED, "List the nodes of the hub with their devices and runs."),
        "drain": _Command(DECLARED, "Stop the running hub after its work in progress."),
        "backup": _Command("upkeep", "Write the hub's state into one new file, or verify such a file."),
        "restore": _Command("upkeep", "Restore the hub's state from a backup file."),
        "issues": _Command(DECLARED, "List issues, mute those that need no fix, and unmute them."),
        "notify": _Command(DECLARED, "Show targets of events and deliveries, try a target, send again."),
        "debug": _Command("doctor", "Inspect a running hub, or pack diagnostics into an archive."),
    },
    "Agents and their work": {
        "agents": _Command("agents", "List, show, create, change, pause and remove agents."),
        "templates": _Command(DECLARED, "List, show, write and remove the templates of agents."),
        "tables": _Command(DECLARED, "List the tables that agents find items for, with their fields."),
        "run": _Command("runs", "Start a run of an agent."),
        "runs": _Command("runs", "List and show runs; cancel, pause, resume and repeat them."),
        "why": _Command(DECLARED, "Show what became of a file or its lines, and why of others nothing did."),
        "items": _Command("items", "List and show found items; approve, edit and reject them, undo that."),
        "tasks": _Command("items", "List approved tasks and events; tick them off, change them, undo that."),
        "export": _Command("export", "Write the items of a hub to FILE, or to standard output."),
        "locks": _Command(DECLARED, "List locks with their holders and queues, and release a lock by force."),
        "costs": _Command(DECLARED, "Show the costs of models, failed requests included."),
        "activity": _Command(DECLARED, "List what happened to agents, messages and questions."),
        "eval": _Command("hub.lab.command", "Measure how well an agent finds what a person found."),
    },
    "Devices, users and access": {
        "devices": _Command("access", "List, show, rename and revoke devices."),
        "pair": _Command("access", "Admit devices: by the code that a device shows, or by an invitation."),
        "users": _Command("users", "List, create, remove, export and erase users, who own devices."),
        "token": _Command("access", "Create, list and revoke the tokens of devices and operators."),
        "dashboard": _Command("access", "Sign a browser in at the hub's pages, with a link that works once."),
        "keys": _Command(DECLARED, "List, rotate and delete the keys that seal sign-ins."),
        "routes": _Command("help", "List the REST routes with the roles that may use them."),
        "audit": _Command("logs", "List the audit log, export it, and verify its chain of hashes."),
    },
    "Assistants": {
        "mcp": _Command("mcp", "Connect an assistant that speaks MCP with the hub."),
    },
    "Mailboxes, chats and calendars": {
        "connectors": _Command("access", "List, test and sign in to mailboxes, chats and calendars."),
    },
    "Agents together": {
        "gateways": _Command(DECLARED, "List, show and reconnect OpenClaw gateways; adopt their agents."),
        "boards": _Command(
            "coordination", "List, show, create and change boards, on which agents work together."
        ),
        "messages": _Command("coordination", "List messages between agents; send, cancel and retry them."),
        "ask": _Command("coordination", "List questions of agents to people; ask, answer and withdraw them."),
    },
    "On a desktop": {
        "device": _Command(
            "device", "Keep this machine connected as a device; see what it sends and has sent."
        ),
        "places": _Command(
            "places",
            "List, add, test and remove the places where approved items go: notes, lists and calendars.",
        ),
        "connect": _Command("connect", "Connect this machine as a device and share folders with the hub."),
        "review": _Command("review", "List suggestions of agents; approve, edit and reject them."),
        "answer": _Command("review", "List the questions of agents to you, or answer one."),
        "open": _Command("review", "Open the pages of the hub in a browser, with your own things."),
        "grants": _Command("review", "Show the rights of the hub on this device, or change them."),
    },
}
COMMANDS: Final = {name: command for section in SECTIONS.values() for name, command in section.items()}


class LazyGroup(click.Group):
    """Group of the commands of SECTIONS, in their order; each module is imported when its command is used."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        check_texts(self)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _as_typed():
            return super().make_context(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS and name not in self.commands:
            self.add_command(_load(name), name)
        return self.commands.get(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click looks for likely names among loaded commands
            command = {"start": "up", "stop": "down"}.get(args[0])  # as other programs call it
            message = command and f"No such command {args[0]!r}. Did you mean 'hub {command}'?"
            raise click.exceptions.NoSuchCommand(
                args[0], message, None if command else COMMANDS, ctx=ctx
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), command.help) for name, command in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Without --debug, an unexpected error becomes a Failure without a traceback."""
        try:
            with _as_typed():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            from hub.cli.hub_client import version_gap

            raise version_gap(error) or as_failure(error) from error


def _load(name: str) -> click.Command:
    from hub.cli.declared import add_declared, declared_command

    found = COMMANDS[name]
    if found.module == DECLARED:
        command = declared_command(name, found.help)
    else:
        module = found.module if "." in found.module else f"hub.cli.{found.module}"
        command = getattr(import_module(module), name.replace("-", "_"))
        assert isinstance(command, click.Command)
        if isinstance(command, click.Group):
            add_declared(command, name)
    check_texts(command)
    return command


@contextmanager
def _as_typed() -> Iterator[None]:
    """Cut what a usage error repeats of the command line, and exit with 130 after an interrupt."""
    try:
        yield
    except click.UsageError as error:
        error.message = repeatable(error.message)  # type: ignore[misc]  # of every usage error, at one place
        raise
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(Exit.INTERRUPTED) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state", metavar="DIR", help="State folder of the hub; also an option of the commands that use it."
)
@url_option
@token_file_option
@user_option
@node_option
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(VERSION, prog_name="hub", help="Show the version.")
def hub(state: str | None, debug: bool) -> None:
    """Run a hub for people's devices: agents read shared files and mail, and suggest tasks and notes.

    First run: hub up FOLDER. Step by step: hub init, hub serve, hub connect, hub pair approve, hub run,
    hub review.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    hub(args=args, prog_name="hub")
    sys.exit(0)
