"""The command ``doctor``: what a person should see to, from the hub, its folder and its audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import URL, example, hub_option, json_option
from hub.cli.talk import talk
from hub.printable import one_line

if TYPE_CHECKING:
    from hub.settings.storage_settings import StorageSettings

Issue = dict[str, Any]  # as GET /v1/issues tells it; *since* may be None here

_ORDER: Final = ("error", "warning", "notice")


@click.command(epilog=example("hub doctor --fix"))
@click.option("--fix", is_flag=True, help="Put right what can be put back again, and say what was done.")
@click.option("--online", is_flag=True, help="Ask other machines too: the model's endpoint.")
@click.option("--audit", is_flag=True, help="Check the whole audit log too.")
@click.option(
    "--bundle",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Pack what helps somebody else to find a fault, as 'hub debug bundle' does.",
)
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@hub_option
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    fix: bool,
    online: bool,
    audit: bool,
    bundle: Path | None,
    config: Path,
    state: Path,
    as_json: bool,
) -> None:
    """Check the installation and list problems with their fixes.

    Where no hub runs, its settings, its folder and its database are looked at.
    Exits with 1 when something is wrong; what only waits for somebody is not.
    """
    is_here = ctx.meta.get(URL) is None
    done = list(_close_to_others(state)) if fix and is_here else []
    issues = [*_asked(state, config, online=online, anew=bool(done), audit=audit, is_here=is_here)]
    issues.sort(key=lambda issue: _ORDER.index(issue["severity"]))
    if as_json:
        show.print_json("doctor", {"issues": issues, "fixed": done})
    else:
        for told in done:
            show.say(told)
        _print(issues)
    if bundle is not None:
        _pack(bundle, state, config)
    if any(issue["severity"] != "notice" for issue in issues):
        ctx.exit(Exit.FAILED)


def _asked(
    state: Path, config: Path, *, online: bool, anew: bool, audit: bool, is_here: bool
) -> Iterator[Issue]:
    """What the hub knows; what can be seen without it, where none runs on this machine."""
    try:
        with talk(state) as hub:
            wanted = {"online": online or None, "anew": anew or None}
            yield from hub.get_all("/v1/issues", "issues", **wanted)["issues"]
            checked = hub.get("/v1/audit/verify") if audit else None
    except Failure as failure:
        if failure.exit_code != Exit.NOT_RUNNING or not is_here:
            raise
        yield _issue("hub.down", failure.message, fix=failure.next_step)
        yield from _seen_without_it(state, config)
        return
    if checked is not None and not checked["ok"]:
        for found in checked["breaks"]:
            yield _issue("audit.broken", found["what"], fix="hub audit verify", subject=str(found["seq"]))


def _seen_without_it(state: Path, config: Path) -> Iterator[Issue]:
    from hub.health.machine import exposed_in
    from hub.settings.problems import Severity
    from hub.settings.reading import check_settings

    reading = check_settings(config)
    for problem in reading.problems:
        severity = "error" if problem.severity is Severity.ERROR else "warning"
        yield _issue("settings.wrong", str(problem), fix="hub check", severity=severity, subject=problem.path)
    if not state.is_dir():
        yield _issue("folder.missing", f"there is no folder {state}", fix="hub serve makes it")
        return
    for exposed in exposed_in(state):
        told = f"others on this machine may get at {exposed.path} (mode {exposed.mode:04o})"
        yield _issue(
            "folder.open", told, fix="hub doctor --fix", severity="warning", subject=str(exposed.path)
        )
    if reading.settings is not None:
        yield from _database_faults(reading.settings.storage, state)


def _database_faults(storage: "StorageSettings", state: Path) -> Iterator[Issue]:
    from hub.settings.secret import SecretMissing
    from storage.kernel.address import SERVER
    from storage.kernel.backup import BackupRefused, checked
    from storage.kernel.database import Unavailable
    from storage.kernel.database_file import file_of

    try:
        url = storage.resolved()
        database = None if url.startswith(SERVER) else file_of(url, state)
        if database is not None and database.exists() and database.stat().st_size:  # else no hub has begun it
            checked(database)
    except SecretMissing:
        return  # a problem of the settings, which are listed
    except (Unavailable, OSError) as error:
        fix = "look at storage.url in the settings, and at who may read that file"
        yield _issue("database.unreadable", str(error), fix=fix)
    except BackupRefused as error:
        fix = "put a backup in its place: hub restore FILE"
        yield _issue("database.damaged", str(error), fix=fix)


def _close_to_others(state: Path) -> Iterator[str]:
    """Take the rights of others to the state folder away; what was done, as sentences."""
    from hub.health.machine import exposed_in

    for exposed in exposed_in(state) if state.is_dir() else ():
        exposed.path.chmod(exposed.wanted)
        yield f"closed {exposed.path} to others: mode {exposed.mode:04o} is {exposed.wanted:04o} now"


def _pack(file: Path, state: Path, config: Path) -> None:
    from hub.cli.bundle import write_bundle

    missing = write_bundle(file, state=state, config=config, clock=show.clock)
    show.say(f"{file} has all that helps; look at it before you hand it on")
    for name, why in missing.items():
        show.say(f"  without {name}: {why}")


def _print(issues: list[Issue]) -> None:
    for issue in issues:
        since = "" if issue["since"] is None else f", since {show.short_moment(issue['since'])}"
        show.out(f"{issue['severity']}: {one_line(issue['explanation'])} ({issue['id']}{since})")
        show.out(f"  {one_line(issue['fix'])}")
    if not issues:
        show.say("nothing is wrong")


def _issue(id: str, explanation: str, *, fix: str, severity: str = "error", subject: str = "") -> Issue:
    return {
        "id": id,
        "subject": subject,
        "severity": severity,
        "since": None,
        "explanation": explanation,
        "fix": fix,
    }
