"""Every command of ``hub`` with its parameters, and command lines that give one of them a certain value."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click

from hub.cli.app import hub
from hub.cli.options import Duration, JsonObject, Moment

# Values that a parameter accepts, by its type.
_ACCEPTED: Final[dict[type, str]] = {
    click.types.IntRange: "1",
    click.types.FloatRange: "1",
    Duration: "1h",
    Moment: "1h",
    JsonObject: "{}",
}


class Leaf(NamedTuple):
    """A command that is no group, with the groups on the way to it."""

    steps: tuple[tuple[str, click.Command], ...]

    @property
    def words(self) -> str:
        return " ".join(name for name, _ in self.steps)

    @property
    def command(self) -> click.Command:
        return self.steps[-1][1]

    @property
    def params(self) -> list[click.Parameter]:
        """Return the parameters of the command and of its groups."""
        return [param for _, command in self.steps for param in command.params]

    def named(self, param: click.Parameter) -> str:
        """Return the name of a parameter as a refusal writes it."""
        command = next(command for _, command in self.steps if param in command.params)
        return param.get_error_hint(click.Context(command)).strip("'")

    def has(self, flag: str) -> bool:
        return any(flag in param.opts for param in self.command.params)

    def line(
        self,
        file: Path,
        *flags: str,
        target: click.Parameter | None = None,
        value: str | None = None,
    ) -> list[str]:
        """Return the words of a call with accepted values, and with *value* for *target*; None: without it.

        Args:
            file: the value of every file.
            flags: of the command, after its options.
        """
        words: list[str] = []
        for name, command in self.steps:
            options, arguments = [*flags] if command is self.command else [], list[str]()
            for param in command.params:
                given = value if param is target else _accepted(param, file) if param.required else None
                if given is None:
                    continue
                if isinstance(param, click.Option):
                    options += [max(param.opts, key=len), given]
                else:
                    arguments.append(given)
            words += [name, *options, *(["--", *arguments] if arguments else [])]
        return words


def leaves() -> Iterator[Leaf]:
    """Yield every command that is no group."""

    def below(
        command: click.Command, ctx: click.Context, steps: Sequence[tuple[str, click.Command]]
    ) -> Iterator[Leaf]:
        if not isinstance(command, click.Group):
            yield Leaf(tuple(steps))
            return
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            context = click.Context(inner, info_name=name, parent=ctx)
            yield from below(inner, context, [*steps, (name, inner)])

    yield from below(hub, click.Context(hub, info_name="hub"), [])


def _accepted(param: click.Parameter, file: Path) -> str:
    shown = str(param.metavar)
    match param.type:
        case click.Choice(choices=choices):
            return str(choices[0])
        case click.Path(dir_okay=False):
            return str(file)
        case click.Path():
            return str(file.parent)
    if shown.startswith("KEY=VALUE"):
        return "x=1"
    if "GRANT" in shown:
        return "+files"
    return _ACCEPTED.get(type(param.type), "nobody")
