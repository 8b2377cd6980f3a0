"""``hub doctor``: problems of the hub, its settings, its state folder and its audit log, with fixes."""

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
    from hub.settings.settings import StorageSettings

Issue = dict[str, Any]  # as in the response of GET /v1/issues; *since* may be None here

_ORDER: Final = ("error", "warning", "notice")


@click.command(epilog=example("hub doctor --fix"))
@click.option("--fix", is_flag=True, help="Make the fixes that can be undone, and list them.")
@click.option("--online", is_flag=True, help="Also check other machines: the model's endpoint.")
@click.option("--audit", is_flag=True, help="Also verify the whole audit log.")
@click.option(
    "--bundle",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write an archive of diagnostics, as 'hub debug bundle' does.",
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

    Without a running hub, checks its settings, its state folder and its database.
    Exits with 1 when there are errors or warnings. Notices do not count.
    """
    is_here = ctx.meta.get(URL) is None
    done = list(_close_to_others(state)) if fix and is_here else []
    issues = [*_asked(state, config, online=online, anew=bool(done), audit=audit, is_here=is_here)]
    issues.sort(key=lambda issue: _ORDER.index(issue["severity"]))
    if as_json:
        show.print_json("doctor", {"issues": issues, "fixed": done})
    else:
        for change in done:
            show.report(change)
        _print(issues)
    if bundle is not None:
        _pack(bundle, state, config)
    if any(issue["severity"] != "notice" for issue in issues):
        ctx.exit(Exit.FAILED)


def _asked(
    state: Path, config: Path, *, online: bool, anew: bool, audit: bool, is_here: bool
) -> Iterator[Issue]:
    """Yield the issues of the hub; if none runs on this machine, the issues visible without it."""
    try:
        with talk(state) as hub:
            params = {"online": online or None, "anew": anew or None}
            yield from hub.get_all("/v1/issues", "issues", **params)["issues"]
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
        yield _issue("folder.missing", f"there is no folder {state}", fix="hub serve creates it")
        return
    for exposed in exposed_in(state):
        explanation = f"other users of this machine can access {exposed.path} (mode {exposed.mode:04o})"
        yield _issue(
            "folder.open", explanation, fix="hub doctor --fix", severity="warning", subject=str(exposed.path)
        )
    if reading.settings is not None:
        yield from _database_faults(reading.settings.storage, state)


def _database_faults(storage: "StorageSettings", state: Path) -> Iterator[Issue]:
    from hub.settings.secret import SecretMissing
    from storage.kernel.address import SERVER, file_of
    from storage.kernel.backup import BackupRefused, checked
    from storage.kernel.database import Unavailable

    try:
        url = storage.resolved()
        database = None if url.startswith(SERVER) else file_of(url, state)
        if database is not None and database.exists() and database.stat().st_size:  # else no hub has used it
            checked(database)
    except SecretMissing:
        return  # already listed with the problems of the settings
    except (Unavailable, OSError) as error:
        fix = "check storage.url in the settings, and the permissions of that file"
        yield _issue("database.unreadable", str(error), fix=fix)
    except BackupRefused as error:
        fix = "restore a backup: hub restore FILE"
        yield _issue("database.damaged", str(error), fix=fix)


def _close_to_others(state: Path) -> Iterator[str]:
    """Remove other users' access to the state folder. Yield a sentence for each change."""
    from hub.health.machine import exposed_in

    for exposed in exposed_in(state) if state.is_dir() else ():
        exposed.path.chmod(exposed.expected_mode)
        closed = f"closed {exposed.path} to other users"
        yield f"{closed}: mode {exposed.mode:04o} is {exposed.expected_mode:04o} now"


def _pack(file: Path, state: Path, config: Path) -> None:
    from hub.cli.debug import write_bundle

    missing = write_bundle(file, state=state, config=config, clock=show.clock)
    show.report(f"wrote {file}; check it before you pass it on")
    for name, why in missing.items():
        show.report(f"  without {name}: {why}")


def _print(issues: list[Issue]) -> None:
    for issue in issues:
        since = "" if issue["since"] is None else f", since {show.short_moment(issue['since'])}"
        show.out(f"{issue['severity']}: {one_line(issue['explanation'])} ({issue['id']}{since})")
        show.out(f"  {one_line(issue['fix'])}")
    if not issues:
        show.report("no problems found")


def _issue(id: str, explanation: str, *, fix: str, severity: str = "error", subject: str = "") -> Issue:
    return {
        "id": id,
        "subject": subject,
        "severity": severity,
        "since": None,
        "explanation": explanation,
        "fix": fix,
    }
