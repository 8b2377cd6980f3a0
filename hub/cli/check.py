"""Commands on the settings file as a whole: checked, taken up, described."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import URL, example, hub_option, json_option
from hub.cli.talk import talk

if TYPE_CHECKING:
    from hub.settings.problems import Problem

WHEN = {
    "live": "used at once",
    "reconnect": "used by connections made from now on",
    "restart": "waits for a restart",
    "archived": "is archived",
}


@click.command(epilog=example("hub check hub.toml"))
@click.argument("file", type=click.Path(path_type=Path), default="hub.toml")
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option(
    "--elsewhere",
    is_flag=True,
    help="The hub serves elsewhere or as a service: only warn of secrets that are not here.",
)
@click.option(
    "--against-running",
    is_flag=True,
    help="Ask the running hub too: it knows its secrets, its ports, its agents, and says what would change.",
)
@json_option
@hub_option
@click.pass_context
def check(
    ctx: click.Context,
    file: Path,
    strict: bool,
    elsewhere: bool,
    against_running: bool,
    as_json: bool,
    state: Path,
) -> None:
    """Check a settings file and list all its problems at once.

    Prints a line for each problem: file:line:column, what is wrong, a hint.
    Exits with 78 when there are errors, as 'hub serve' does, which needs every secret
    that the file names to be found where it starts.
    """
    from hub.settings.problems import Severity
    from hub.settings.reading import check_settings

    is_here = not (elsewhere or against_running)  # a running hub knows its secrets
    reading = check_settings(file, serving=is_here)
    problems, changes = reading.problems, dict[str, Any]()
    if against_running and reading.settings is not None:
        with talk(state) as hub:
            wanted = {"text": reading.text}
            if URL not in ctx.meta:  # a hub on another machine has other folders
                wanted["folder"] = str(file.absolute().parent)
            told = hub.post("/v1/config/check", wanted)
        problems = [_problem(one, file) for one in told["problems"]]
        changes = {when: told[when] for when in WHEN}
    if strict:
        problems = [problem._replace(severity=Severity.ERROR) for problem in problems]
    is_ok = all(problem.severity is Severity.WARNING for problem in problems)
    if as_json:
        listed = [problem._asdict() for problem in problems]
        show.print_json("check", {"file": str(file), "ok": is_ok, "problems": listed, **changes})
    else:
        for problem in problems:
            show.out(str(problem))
        if not problems:
            show.say(f"{file}: no problems")
        if is_here and reading.settings is None and check_settings(file).settings is not None:
            show.say(
                "hub serve would not start here; if the hub serves elsewhere or as a service:",
                f"  hub check {file} --elsewhere",
            )
        if changes and is_ok:
            say_changes(changes, nothing="the hub runs with these settings")
    ctx.exit(Exit.DONE if is_ok else Exit.SETTINGS)


@click.command(epilog=example("hub reload --wait"))
@click.option("--wait", is_flag=True, help="Wait for a reload that is under way; else that is an error.")
@json_option
@hub_option
def reload(wait: bool, as_json: bool, state: Path) -> None:
    """Apply the changed settings file to the running hub.

    All of it or nothing: with an error in it the hub goes on as it was, and this exits
    with 78. Says which changes are used at once and which wait for something.
    """
    with talk(state) as hub:
        told = hub.post(f"/v1/reload?wait={str(wait).lower()}")
    if as_json:
        show.print_json("reload", told)
        return
    say_taken_up(told)


@click.command(epilog=example("hub schema -o hub.schema.json"))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write it into a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of the settings file.

    Editors that know TOML check a file by it whose first line is #:schema ./hub.schema.json.
    """
    from hub.settings.schema import schema_text

    text = schema_text()
    if output is None:
        show.out(text, end="")
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise Failure(f"cannot write {output}: {error.strerror}", Exit.CANNOT_CREATE) from error


def say_taken_up(told: Mapping[str, Any], *, nothing: str = "nothing has changed") -> None:
    """What a reload did, for a person; *nothing*: said when no value in use is another."""
    for one in told["warnings"]:
        show.say(str(_problem(one)))
    say_changes(told, nothing=nothing)
    show.say(f"taken up; generation {told['generation']}")


def say_changes(told: Mapping[str, Sequence[str]], *, nothing: str) -> None:
    """The three lists of a change, a line for each key."""
    lines = [f"{key}: {said}" for when, said in WHEN.items() for key in told[when]]
    for line in lines:
        show.out(line)
    if not lines:
        show.say(nothing)


def _problem(told: Mapping[str, Any], file: Path | None = None) -> "Problem":
    """A problem as the hub told it; what stands in its file stands in *file* here."""
    from hub.settings.problems import Problem, Severity

    problem = Problem(**{**told, "severity": Severity(told["severity"])})
    return problem if file is None or not problem.line else problem._replace(file=str(file))
