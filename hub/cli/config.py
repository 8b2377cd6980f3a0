"""Commands ``hub config``: check, reload, show and change settings, with the source of each value."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.base.printable import shell_word
from hub.base.version import RESTART
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import HubClient, Responses, hub_command, open_client, setting_keys
from hub.cli.options import URL, FilePathParam, config_option, example, hub_option, json_option, keys_of

if TYPE_CHECKING:
    from hub.base.toml.positions import KeyPath
    from hub.base.toml.problems import SettingsProblem
    from hub.settings.reading import ParsedSettings


PATH: Final = "/v1/config"
DEFAULT: Final = "default"


@click.group(epilog=example("hub config show --origin"))
def config() -> None:
    """Show the settings, and change them in the file.

    These commands need a running hub. Without one, edit the file and check it with hub check.
    """


@config.command("show", epilog=example("hub config show --origin"))
@click.option("--origin", is_flag=True, help="Show the source of each value.")
@click.option("--revision", type=int, help="Print the text of this revision of the shared settings instead.")
@hub_command
def show_settings(hub: HubClient, origin: bool, revision: int | None) -> Responses:
    """Show every setting in use, with defaults. Secrets are shown as references."""
    if revision is not None:
        found = hub.get(f"{PATH}/revisions/{revision}")
        yield "config.revision", found
        show.out(found["text"] or "", end="")
        return
    response = hub.get(PATH)
    _report_state(response)
    yield "config", {name: response[name] for name in response if name != "text"}
    keys = dict(keys_of(response["settings"]))
    if origin:
        rows = [(key, _shown(value), _origin(response, key)) for key, value in keys.items()]
        show.print_table(("setting", "value", "source"), rows)
    else:
        for key, value in keys.items():
            show.out(f"{key} = {_shown(value)}")


@config.command(epilog=example("hub config get limits.runs"))
@click.argument("key", shell_complete=setting_keys)
@hub_command
def get(hub: HubClient, key: str) -> Responses:
    """Print one setting, or all settings of a table."""
    response = hub.get(PATH)
    found = _at(response["settings"], key)
    yield "config.get", {"key": key, "value": found, "origin": _origin(response, key)}
    if found is None:
        show.report(f"{key} is not set")
    elif isinstance(found, dict):
        for inner, value in keys_of(found):
            show.out(f"{inner} = {_shown(value)}")
    else:
        show.out(_shown(found))


@config.command("set", epilog=example("hub config set limits.runs=8"))
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; list what would change, and when.")
@hub_command
def set_(hub: HubClient, assignments: tuple[str, ...], check: bool) -> Responses:
    """Write settings into the file, and apply them.

    As in limits.runs=40, agents.notes.priority=3, hub.name=home. KEY= removes the key from
    the file, so that its default applies. Comments and order stay.
    """
    from hub.settings.editor_schema import is_text
    from hub.settings.overrides import value_of

    values: dict[str, Any] = {}
    without: list[str] = []
    for word in assignments:
        key, equals, text = word.partition("=")
        if not equals:
            raise CommandError(
                f"invalid assignment {word!r}: expected KEY=VALUE",
                Exit.USAGE,
                next_step="as in limits.runs=40",
            )
        if not text:
            without.append(key)
            continue
        values[key] = _plain(value_of(text, is_text=is_text(_path(key))))
    edit = {"values": values, "without": without}
    if check:
        checked = hub.post(f"{PATH}/check", edit)
        yield "check", checked, Exit.DONE if checked["ok"] else Exit.SETTINGS
        for faulty in checked["problems"]:
            show.out(str(_problem(faulty)))
        if not checked["ok"]:
            raise CommandError("the values are not allowed", Exit.SETTINGS)
        report_changes(checked, nothing="no value in use would change")
        return
    tag = hub.get(PATH)["tag"]
    if sys.stdin.isatty():
        _confirm_warned(hub.post(f"{PATH}/check", edit))
    response = hub.send("PATCH", PATH, body=edit, headers={"if-match": tag})
    yield "reload", response
    report_reloaded(response, nothing="no value in use has changed")


@config.command(epilog=example("hub config edit"))
@hub_option
def edit(state: Path) -> None:
    """Edit the settings in $VISUAL or $EDITOR; they are checked before they are written.

    If the file has errors, edit it again or discard the changes; the hub keeps its settings.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if editor is None and not sys.stdin.isatty():
        raise CommandError(
            "no terminal to edit the file in",
            Exit.USAGE,
            next_step="use hub config set KEY=VALUE, or set $EDITOR to a program that needs no terminal",
        )
    with open_client(state) as hub:
        before = hub.get(PATH)
        text = before["text"]
        while True:
            text = _edited(text, editor or "vi")
            if text == before["text"]:
                show.report("no changes")
                return
            response = hub.post(f"{PATH}/check", {"text": text})
            if response["ok"]:
                _confirm_warned(response)
                done = hub.send("PATCH", PATH, body={"text": text}, headers={"if-match": before["tag"]})
                report_reloaded(done)
                return
            for faulty in response["problems"]:
                show.report(str(_problem(faulty)))
            if not show.ask("edit it again? (no discards the changes)", default=True):
                raise CommandError("the settings have errors; the changes were discarded", Exit.SETTINGS)


def _confirm_warned(checked: Mapping[str, Any]) -> None:
    """Print the warnings of valid settings, and ask at a terminal whether to apply them.

    Raises:
        click.Abort: the answer was no.
    """
    if not sys.stdin.isatty() or not checked["ok"] or not checked["problems"]:
        return
    for faulty in checked["problems"]:
        show.report(str(_problem(faulty)))
    show.ask("apply it nonetheless?", abort=True)


@config.command(epilog=example("hub config revert limits.runs"))
@click.argument("what", metavar="GENERATION|KEY", shell_complete=setting_keys)
@hub_command
def revert(hub: HubClient, what: str) -> Responses:
    """Write the values of an earlier generation into the file, and apply them.

    With a setting instead of a generation, undo the last change of that setting. Comments and
    order stay. The result is a new generation, so this can be reverted, too. What would not pass
    hub check is not written, nor are settings that nodes share: hub config push --revision N.
    """
    request = {"generation": int(what)} if what.isascii() and what.isdigit() else {"key": what}
    response = hub.post(f"{PATH}/revert", request)
    yield "reload", response
    report_reloaded(response, nothing="no value in use has changed")


@config.command(epilog=example("hub config push hub.toml"))
@click.argument("file", type=FilePathParam(dir_okay=False), required=False)
@click.option("--revision", type=int, help="Publish this earlier revision again, instead of a file.")
@click.option("--withdraw", is_flag=True, help="Let each node use the tables of its own file again.")
@click.option("--archive", is_flag=True, help="With --withdraw: archive agents that are in no hub.toml.")
@click.option("--after", type=click.IntRange(min=0), help="Only if this revision is the newest; 0: none.")
@hub_command
def push(
    hub: HubClient, file: Path | None, revision: int | None, withdraw: bool, archive: bool, after: int | None
) -> Responses:
    """Publish the settings of a file for all nodes: agents, models, limits and what else they share.

    This node checks them first; if it cannot apply them, nothing is published. The others apply them within
    seconds, instead of these tables of their own files; hub nodes shows which revision each one uses. Tables
    about one machine, such as [listen] and [storage], are left out.

    The first line of a file from hub config show --revision names the revision: the file is refused if
    another one was published since.
    """
    from hub.settings.reading import MARK, revision_of, revision_tag

    if (file is not None) + (revision is not None) + withdraw != 1:
        raise CommandError("give either FILE, --revision or --withdraw", Exit.USAGE)
    newest = next(iter(hub.get(f"{PATH}/revisions", limit=1)["revisions"]), None)
    body: dict[str, Any] = {"withdraw": withdraw, "revision": revision, "archive": archive}
    based: int | None = None
    if file is not None:
        with using(file, "read", Exit.USAGE):
            body |= {"text": file.read_bytes().decode(), "name": str(file)}
        based = revision_of(body["text"])
    known = _known(newest, based if after is None else after, is_exact=after is not None)
    response = hub.post(f"{PATH}/revisions", body, headers={"if-match": revision_tag(known)})
    if file is not None and based is not None:
        _write_mark(file, body["text"], MARK.format(response["revision"]))
    yield "config.push", response
    report_changes(response, nothing="no value in use at this node has changed")
    number, generation = response["revision"], response["generation"]
    show.report(f"published as revision {number}, in use here as generation {generation}")
    show.report("hub nodes shows which node uses it")
    report_warnings(response)


def _write_mark(file: Path, text: str, mark: str) -> None:
    """Replace the first line of a published file, so that it can be edited and published again."""
    _, line_end, rest = text.partition("\n")
    try:
        file.write_bytes(f"{mark}{line_end}{rest}".encode())
    except OSError as error:
        show.report(f"{file} names the revision from before: {error.strerror}; write there: {mark}")


def _known(newest: Mapping[str, Any] | None, known: int | None, *, is_exact: bool) -> int:
    """Return the number of the newest revision, 0 without one. Raises Failure: it is not the *known* one."""
    number = 0 if newest is None else newest["number"]
    is_lost = newest is None or newest["tables"] or is_exact  # else the newest one has nothing to lose
    if known not in (None, number) and is_lost:
        by = "" if newest is None else f", published by {newest['actor']} at {show.moment(newest['at'])}"
        raise CommandError(
            f"the newest revision is {number or 'none'}{by}, not {known}: nothing was published",
            Exit.FAILED,
            next_step=f"compare: hub config show --revision {number}; to publish over it: --after {number}",
        )
    return number


def _path(key: str) -> "KeyPath":
    """Return the path of a key in the settings; keys of any agent get the index of the first agent."""
    first, *rest = key.split(".")
    return (first, 0, *rest[1:]) if first == "agents" else (first, *rest)


def _edited(text: str, editor: str) -> str:
    """Return *text* as it is after the person has edited it with *editor*."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        file = Path(folder) / "hub.toml"
        file.write_text(text, "utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except OSError as error:
            raise CommandError(
                f"cannot start {editor}: {error.strerror}", Exit.UNAVAILABLE, next_step="set $EDITOR"
            ) from error
        if done.returncode:
            raise CommandError(f"{editor} exited with {done.returncode}: nothing was changed", Exit.FAILED)
        return file.read_text("utf-8")


def _report_state(response: Mapping[str, Any]) -> None:
    """Print the errors of the file, and the settings that need a restart."""
    if response["on_last_good"]:
        show.report(f"{response['file']} had errors at the start; the hub uses the last valid settings")
    elif response["refused"]:
        show.report(f"{response['file']} has errors now; the hub uses the settings from before")
    for refused in response["refused"]:
        show.report(str(_problem(refused)))
    for key in response["waiting"]:
        show.report(f"{key}: {WHEN['restart']}")


def _at(settings: Mapping[str, Any], key: str) -> Any:
    """Return the value of *key*, or None if it has no value. Raises Failure: there is no such setting."""
    from hub.base.toml.schema import names_at
    from hub.settings.settings import Settings

    here: Any = settings
    for part in key.split("."):
        if isinstance(here, list):
            here = {setting["name"]: setting for setting in here}
        if not isinstance(here, dict) or part not in here:
            *table, name = _path(key)
            if name in names_at(tuple(table), Settings):
                return None
            raise CommandError(
                f"there is no setting {key}", Exit.FAILED, next_step="list them: hub config show"
            )
        here = here[part]
    return here


def _origin(response: Mapping[str, Any], key: str) -> str:
    """Return the source of the value of *key*, or of the table that contains it."""
    origins: Mapping[str, str] = response["origins"]
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return DEFAULT


def _shown(value: Any) -> str:
    """Format a value as TOML."""
    import tomlkit

    shown: str = tomlkit.item(value).as_string()
    return shown


def _plain(value: Any) -> Any:
    """Convert a value for JSON: a date becomes its text."""
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


WHEN = {
    "live": "applies at once",
    "reconnect": "applies to new connections",
    "restart": f"needs a restart: {RESTART}",
    "archived": "is archived",
}


@click.command(epilog=example("hub check hub.toml"))
@click.argument("file", type=FilePathParam(), required=False)
@config_option
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option(
    "--elsewhere",
    is_flag=True,
    help="For a hub elsewhere or run as a service: only warn of secrets that are missing here.",
)
@click.option(
    "--against-running",
    is_flag=True,
    help="Also check with the running hub (its secrets, ports and agents), and list the changes.",
)
@json_option
@hub_option
@click.pass_context
def check(
    ctx: click.Context,
    file: Path | None,
    config: Path,
    strict: bool,
    elsewhere: bool,
    against_running: bool,
    as_json: bool,
    state: Path,
) -> None:
    """Check a settings file and list all its problems at once.

    Prints a line for each problem: file:line:column, message, hint. Exits with 78 when there are
    errors, as 'hub serve' does. Secrets that the file names must be available on this machine.
    It opens the database and signs in to its server, as a start does; not with --elsewhere.
    """
    from hub.settings.reading import check_settings

    if file is not None and ctx.get_parameter_source("config") is click.core.ParameterSource.COMMANDLINE:
        raise CommandError("give the file once: as FILE or with --config", Exit.USAGE)
    file = file or config
    is_here = not (elsewhere or against_running)  # a running hub knows its secrets
    reading = check_settings(file, serving=is_here)
    problems, changes = reading.problems, dict[str, Any]()
    is_refused = False
    if is_here and reading.settings is not None and (refused := _refused_start(reading, state)):
        problems, is_refused = [*problems, refused], True
    if against_running and reading.settings is not None:
        with open_client(state) as hub:
            body = {"text": reading.text}
            if URL not in ctx.meta:  # a hub on another machine has other folders
                body["folder"] = str(file.absolute().parent)
            response = hub.post("/v1/config/check", body)
        problems = [_problem(problem, file) for problem in response["problems"]]
        changes = {when: response[when] for when in WHEN}
    if strict:
        problems = [problem._replace(severity="error") for problem in problems]
    is_ok = all(problem.severity == "warning" for problem in problems)
    if as_json:
        listed = [problem._asdict() for problem in problems]
        show.print_json("check", {"file": str(file), "ok": is_ok, "problems": listed, **changes})
    else:
        for problem in problems:
            show.out(str(problem))
        if not problems:
            show.report(f"{file}: no problems")
        if is_refused or (is_here and reading.settings is None and check_settings(file).settings is not None):
            show.report(
                "hub serve would not start here; for a hub elsewhere or run as a service:",
                f"  hub check {shell_word(file)} --elsewhere",
            )
        if changes and is_ok:
            report_changes(changes, nothing="no changes: the hub uses these settings")
    ctx.exit(Exit.DONE if is_ok else Exit.SETTINGS)


def _refused_start(reading: "ParsedSettings", state: Path) -> "SettingsProblem | None":
    """Return the problem of valid settings with which no hub starts on this state folder."""
    import anyio

    from hub.app.state_database import refused_start
    from hub.base.toml.problems import Reporter, SettingsProblem

    assert reading.places is not None
    try:
        refused = anyio.run(refused_start, reading.usable(), state)
    except OSError as error:
        return Reporter(reading.places).error(("storage", "url"), str(error))
    if refused is None:
        return None
    path, why = refused
    if not path:
        return SettingsProblem("--state", 0, 0, "", str(why))
    return Reporter(reading.places).error(path, str(why), getattr(why, "hint", ""))


@click.command(epilog=example("hub reload"))
@click.option("--wait", is_flag=True, expose_value=False, hidden=True)  # of earlier releases
@hub_command
def reload(hub: HubClient) -> Responses:
    """Apply the changed settings file to the running hub.

    Applies all changes or none: if the file has an error, the hub keeps its settings and this
    exits with 78. Lists each change and whether it applies at once or needs a restart.
    """
    response = hub.post("/v1/reload")
    yield "reload", response
    report_reloaded(response)


@click.command(epilog=example("hub schema -o hub.schema.json"))
@click.option("--output", "-o", type=FilePathParam(), help="File to write instead of standard output.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of the settings file.

    TOML editors check a file with it if the first line is #:schema ./hub.schema.json.
    """
    from hub.settings.editor_schema import schema_text

    text = schema_text()
    if output is None:
        show.out(text, end="")
        return
    with using(output, "write", Exit.CANNOT_CREATE):
        output.write_text(text, "utf-8")


def report_reloaded(
    response: Mapping[str, Any], *, nothing: str = "no changes: the hub uses these settings"
) -> None:
    """Print the result of a reload; *nothing* is the sentence for no changed value."""
    report_warnings(response)
    generation = f"generation {response['generation']}"
    report_changes(response, nothing=f"{nothing}; {generation}")
    if any(response[when] for when in WHEN):
        show.report(f"applied; {generation}")


def report_warnings(response: Mapping[str, Any]) -> None:
    """Print the warnings of applied settings."""
    for warning in response["warnings"]:
        show.report(str(_problem(warning)))


def report_changes(response: Mapping[str, Sequence[str]], *, nothing: str) -> None:
    """Print a line for each changed key: when the change applies."""
    lines = [f"{key}: {effect}" for when, effect in WHEN.items() for key in response[when]]
    for line in lines:
        show.out(line)
    if not lines:
        show.report(nothing)


def _problem(response: Mapping[str, Any], file: Path | None = None) -> "SettingsProblem":
    """Convert a problem of the hub's response; *file* replaces the path of the settings file."""
    from hub.base.toml.problems import SettingsProblem

    problem = SettingsProblem(**response)
    return problem if file is None or not problem.line else problem._replace(file=str(file))
