"""Commands on the settings file."""

from pathlib import Path

import click

from hub.cli import show
from hub.cli.failure import Exit
from hub.cli.options import json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default="hub.toml")
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@json_option
@click.pass_context
def check(ctx: click.Context, file: Path, strict: bool, as_json: bool) -> None:
    """Check a settings file, all of it at once.

    Prints a line for each problem: file:line:column, what is wrong, a hint.
    Exits with 78 when there are errors.
    """
    from hub.ops.problems import Severity
    from hub.ops.settings import check_settings

    problems = check_settings(file).problems
    if strict:
        problems = [problem._replace(severity=Severity.ERROR) for problem in problems]
    is_ok = all(problem.severity is Severity.WARNING for problem in problems)
    if as_json:
        told = [problem._asdict() for problem in problems]
        show.print_json("check", {"file": str(file), "ok": is_ok, "problems": told})
    else:
        for problem in problems:
            click.echo(show.printable(str(problem)))
        if not problems:
            show.say(f"{file}: no problems")
    ctx.exit(Exit.DONE if is_ok else Exit.SETTINGS)
