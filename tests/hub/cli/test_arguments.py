"""Arguments and options of all commands: unknown ids, and values that no command accepts."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
import pytest
from anyio.from_thread import BlockingPortal

from hub.cli.app import hub
from hub.cli.app import hub as root
from hub.cli.errors import Exit
from hub.cli.options import DurationParam, FilePathParam, JsonObjectParam, NameParam, TimeParam
from tests.hub.api.test_agent_configs import an_agent
from tests.hub.api.test_gateway_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub

# Values that a parameter accepts, by its type.
_ACCEPTED: Final[dict[type, str]] = {
    click.types.IntRange: "1",
    click.types.FloatRange: "1",
    DurationParam: "1h",
    TimeParam: "1h",
    JsonObjectParam: "{}",
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


# Commands that succeed with an unknown name: they make it, or explain that it is unknown.
MAKES = ("users create", "boards create", "agents create", "templates put", "why")

# Values that no parameter accepts, and what those accept nonetheless that take any text, or any path.
REFUSED: Final = {"empty": "", "blank": " ", "too long": "x" * 200_000, "control characters": "a\0\x1b[2J"}
NO_NAMES: Final = {"above": "../x", "path": "a/b", "root": "/etc/passwd", "flag": "--help", "dash": "-x"}
# May be empty: the hash of no text. Each of its values is one of a file.
ANY_VALUE: Final = ("--expected",)


def test_no_command_accepts_a_missing_empty_blank_long_or_unprintable_value_or_a_path_as_a_name(
    hub: Hub, tmp_path: Path
) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("", encoding="utf-8")
    wrong, tried, shared = [], 0, set()
    for leaf in leaves():
        for param in leaf.params:
            one = (param.opts[0], type(param.type), param.required)
            is_flag = isinstance(param, click.Option) and param.is_flag
            if is_flag or param.opts[0] in ANY_VALUE or one in shared:
                continue
            shared.add(one)
            values: dict[str, str | None] = {"missing": None} if param.required else {}
            values |= REFUSED | (NO_NAMES if isinstance(param.type, NameParam) else {})
            for kind, value in values.items():
                ended = hub(*leaf.line(file, target=param, value=value))
                tried += 1
                # No hub is running, so that a request would end with another code.
                is_refused = ended.exit_code == Exit.USAGE and leaf.named(param) in ended.stderr
                if not is_refused or "None" in ended.output or not isinstance(ended.exception, SystemExit):
                    wrong.append((leaf.words, leaf.named(param), kind, ended.exit_code, ended.output[-200:]))
    assert wrong == []
    assert tried > 1_000


def test_a_usage_error_repeats_a_readable_part_of_the_command_line(hub: Hub) -> None:
    for foreign in ("x" * 70_000, "\u202eabc", " ".join(["word"] * 20_000), "sk-" + "a" * 40):
        for line in (
            (foreign,),
            (f"--{foreign}",),
            (f"--{foreign}", "status"),
            ("agents", foreign),
            ("agents", "ls", "--limit", foreign),
            ("agents", "ls", f"--{foreign}"),
            ("agents", "config", "notes", "ls", foreign),
            ("agents", "config", "notes", "ls", *foreign.split()),
            ("help", "--state", foreign),
        ):
            ended = hub(*line)
            assert ended.exit_code in (Exit.USAGE, Exit.NOT_RUNNING), line
            assert len(ended.output) < 6_000 and "\u202e" not in ended.output, line
            assert "a" * 40 not in ended.output, line


def test_interrupt_during_imports_ends_a_command_with_130() -> None:
    for module in ("click", "hub.cli.items"):
        code = (
            "import os, signal, sys\n"
            "class Interrupting:\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupting())\n"
            "from hub.__main__ import main\n"
            "main()\n"
        )
        ended = subprocess.run([sys.executable, "-c", code, "items", "--help"], capture_output=True)
        assert (ended.returncode, ended.stderr) == (Exit.INTERRUPTED, b""), module


def test_empty_global_option_is_a_usage_error(hub: Hub) -> None:
    for param in root.params:
        if isinstance(param, click.Option) and not param.is_flag:
            ends(hub(param.opts[0], "", "status"), Exit.USAGE, param.opts[0])


def test_an_option_as_the_value_of_an_option_is_a_missing_value(hub: Hub) -> None:
    for words in (["runs", "cancel", "x", "--reason", "--json"], ["backup", "x.tar", "--config", "--state"]):
        ends(hub(*words), Exit.USAGE, "another option of this command")
    assert hub("runs", "ls", "--agent").exit_code == Exit.USAGE


def test_blank_text_on_standard_input_is_a_usage_error(hub: Hub, served: ServedHub) -> None:
    ends(hub("ask", "user", "house", "-", input="\n"), Exit.USAGE, "blank")


def test_every_text_and_every_path_of_a_command_is_checked() -> None:
    for leaf in leaves():
        for param in leaf.params:
            is_plain = isinstance(param.type, click.types.StringParamType)
            assert not is_plain, (leaf.words, param.name)
            assert isinstance(param.type, FilePathParam) or not isinstance(param.type, click.Path), leaf.words


def test_an_unknown_id_exits_with_the_same_code_with_json_and_without(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("", encoding="utf-8")
    codes = {}
    for leaf in leaves():
        has_argument = any(param.param_type_name == "argument" and param.required for param in leaf.params)
        if has_argument and leaf.has("--json") and leaf.has("--url") and leaf.words not in MAKES:
            flags = ["--yes"] if leaf.has("--yes") else []
            codes[leaf.words] = (
                hub(*leaf.line(file, *flags)).exit_code,
                hub(*leaf.line(file, *flags, "--json")).exit_code,
            )
    assert {words: both for words, both in codes.items() if both[0] != both[1]} == {}
    found = [words for words, both in codes.items() if both == (0, 0)]
    assert found == [], "they succeed with an unknown name: those that make it belong to MAKES"
    assert len(codes) > 60


def test_unreadable_or_unwritable_file_is_named_with_a_remedy(
    hub: Hub, served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, binary, folder = tmp_path / "there", tmp_path / "binary", tmp_path / "folder"
    there.write_text("x")
    binary.write_bytes(b"\xff\xfe\xff")
    folder.mkdir()
    below, lost = there / "x", tmp_path / "lost" / "x"
    monkeypatch.setenv("HUB_TOKEN_FILE", str(lost))
    at = "wss://127.0.0.1:1", "--root", str(folder)
    writes = (
        *(["audit", "export"], ["debug", "bundle"], ["schema", "--output"]),
        *(["init", "--config"], ["tls", "init", "--config"]),
    )
    reads = (
        *(["config", "push"], ["check"], ["restore"], ["templates", "put", "x", "--file"]),
        *(
            ["agents", "create", "x", "--file"],
            ["agents", "preview", "x", "--prompt"],
        ),
        *(["connect", *at, "--token-file"], ["connect", *at, "--invitation-file"]),
        ["--url", "https://127.0.0.1:1", "--token-file"],
    )
    wrong = []
    for words, file in (
        *((words, file) for words in writes for file in (there, below, lost, folder)),
        *((words, file) for words in reads for file in (binary, below, lost, folder)),
    ):
        if (words[0] == "schema" and file == there) or (words[0] == "tls" and file in (there, folder)):
            continue  # it may be replaced, or is beside the written files
        ended = hub(*words, str(file), *(["status"] if words[0] == "--url" else []))
        is_raw = "Errno" in ended.output or "a bug in hub" in ended.output
        if is_raw or ended.exit_code in (0, Exit.NOT_RUNNING) or str(file.parent) not in ended.output:
            wrong.append((words, file.name, ended.exit_code, ended.output))
    assert wrong == []
    ends(
        hub("audit", "export", str(there)),
        Exit.CANNOT_CREATE,
        f"cannot write {there}: it exists already\n  name another file, or remove",
    )
    assert f"cannot read {lost}: no such file" in hub("--url", "https://127.0.0.1:1", "status").stderr


def test_unknown_name_is_answered_with_the_most_similar_name_of_the_kind(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, an_agent)
    portal.call(served.store.write, keep)
    portal.call(served.device, "laptop")
    assert hub("users", "create", "annabel").exit_code == 0
    assert hub("boards", "create", "roses", "--gateway", "office").exit_code == 0
    for words, name in (
        (("agents", "show", "inbx"), "inbox"),
        (("agents", "delete", "imbox", "--yes"), "inbox"),
        (("boards", "show", "rozes"), "roses"),
        (("devices", "show", "laptob"), "laptop"),
        (("gateways", "show", "offic"), "office"),
        (("users", "remove", "anabel"), "annabel"),
        (("run", "inbos", "--json"), "inbox"),
    ):
        ends(hub(*words), Exit.FAILED, f"did you mean '{name}'?")
    assert "did you mean" not in hub("agents", "show", "xylophone").stderr


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("runs", "ls", "--state", "FAILED"), "--in-state FAILED"),
        (("runs", "ls", "--state", "failed"), "--in-state FAILED"),
        (("messages", "ls", "--state", "waiting"), "--only waiting"),
        (("items", "find", "offer", "--state", "open"), "--in-state open"),
        (("export", "--state", "approved"), "--in-state approved"),
        (("items", "ls", "--state", "rejected"), "--in-state rejected"),
        (("ask", "ls", "--state", "answered"), "--all"),
        (("tasks", "--state", "done"), "--done"),
        (("notify", "deliveries", "phone", "--state", "failed"), "--in-state failed"),
    ],
)
def test_state_of_things_in_place_of_the_state_folder_is_refused_with_the_filter(
    hub: Hub, words: Sequence[str], option: str
) -> None:
    ends(hub(*words), Exit.USAGE, f"did you mean {option}?")


def test_unknown_table_of_a_filter_or_limit_is_refused_with_a_suggestion(hub: Hub, served: ServedHub) -> None:
    for words in (
        ("items", "ls", "--table", "taks"),
        ("items", "find", "offer", "--table", "taks"),
        ("items", "reject", "--table", "taks", "--yes"),
        ("export", "--table", "taks"),
        ("token", "create", "--role", "viewer", "--table", "taks"),
    ):
        refused = hub(*words)
        assert refused.exit_code != 0, words
        assert "did you mean 'tasks'?" in refused.stderr, words
