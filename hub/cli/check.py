"""Commands on the whole settings file: check, reload, schema."""

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
    "live": "applies at once",
    "reconnect": "applies to new connections",
    "restart": "needs a restart",
    "archived": "is archived",
}


@click.command(epilog=example("hub check hub.toml"))
@click.argument("file", type=click.Path(path_type=Path), default="hub.toml")
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
    file: Path,
    strict: bool,
    elsewhere: bool,
    against_running: bool,
    as_json: bool,
    state: Path,
) -> None:
    """Check a settings file and list all its problems at once.

    Prints a line for each problem: file:line:column, message, hint. Exits with 78 when there are
    errors, as 'hub serve' does. Secrets that the file names must be available on this machine.
    """
    from hub.settings.problems import Severity
    from hub.settings.reading import check_settings

    is_here = not (elsewhere or against_running)  # a running hub knows its secrets
    reading = check_settings(file, serving=is_here)
    problems, changes = reading.problems, dict[str, Any]()
    if against_running and reading.settings is not None:
        with talk(state) as hub:
            body = {"text": reading.text}
            if URL not in ctx.meta:  # a hub on another machine has other folders
                body["folder"] = str(file.absolute().parent)
            response = hub.post("/v1/config/check", body)
        problems = [_problem(one, file) for one in response["problems"]]
        changes = {when: response[when] for when in WHEN}
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
            show.report(f"{file}: no problems")
        if is_here and reading.settings is None and check_settings(file).settings is not None:
            show.report(
                "hub serve would not start here; for a hub elsewhere or run as a service:",
                f"  hub check {file} --elsewhere",
            )
        if changes and is_ok:
            report_changes(changes, nothing="no changes: the hub uses these settings")
    ctx.exit(Exit.DONE if is_ok else Exit.SETTINGS)


@click.command(epilog=example("hub reload --wait"))
@click.option("--wait", is_flag=True, help="Wait for a reload in progress instead of failing.")
@json_option
@hub_option
def reload(wait: bool, as_json: bool, state: Path) -> None:
    """Apply the changed settings file to the running hub.

    Applies all changes or none: if the file has an error, the hub keeps its settings and this
    exits with 78. Lists each change and whether it applies at once or needs a restart.
    """
    with talk(state) as hub:
        response = hub.post(f"/v1/reload?wait={str(wait).lower()}")
    if as_json:
        show.print_json("reload", response)
        return
    report_reloaded(response)


@click.command(epilog=example("hub schema -o hub.schema.json"))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write instead of standard output."
)
def schema(output: Path | None) -> None:
    """Print the JSON Schema of the settings file.

    TOML editors check a file with it if the first line is #:schema ./hub.schema.json.
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


def report_reloaded(response: Mapping[str, Any], *, nothing: str = "no changes") -> None:
    """Print the result of a reload; *nothing* is the sentence for no changed value."""
    for one in response["warnings"]:
        show.report(str(_problem(one)))
    report_changes(response, nothing=nothing)
    show.report(f"applied; generation {response['generation']}")


def report_changes(response: Mapping[str, Sequence[str]], *, nothing: str) -> None:
    """Print a line for each changed key: when the change applies."""
    lines = [f"{key}: {effect}" for when, effect in WHEN.items() for key in response[when]]
    for line in lines:
        show.out(line)
    if not lines:
        show.report(nothing)


def _problem(response: Mapping[str, Any], file: Path | None = None) -> "Problem":
    """Convert a problem of the hub's response; *file* replaces the path of the settings file."""
    from hub.settings.problems import Problem, Severity

    problem = Problem(**{**response, "severity": Severity(response["severity"])})
    return problem if file is None or not problem.line else problem._replace(file=str(file))
