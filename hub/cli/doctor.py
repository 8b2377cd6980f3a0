"""Commands ``hub doctor`` (also without a running hub) and ``hub debug``: stacks, diagnostics archive."""

import io
import json
import os
import platform
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from hub.base.clock import SystemClock
from hub.base.printable import shell_word
from hub.base.version import VERSION
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import PAGE, HubClient, open_client
from hub.cli.options import (
    URL,
    FilePathParam,
    config_option,
    example,
    hub_option,
    json_option,
    state_option,
)
from hub.cli.zones import other_zone

if TYPE_CHECKING:
    from hub.settings.settings import StorageSettings
    from storage.kernel.migrate import BrokenRow


Issue = dict[str, Any]  # as in the response of GET /v1/issues; *since* may be None here

_ORDER: Final = ("error", "warning", "notice")


@click.command(epilog=example("hub doctor --fix"))
@click.option("--fix", is_flag=True, help="Make the fixes that can be undone, and list them.")
@click.option("--online", is_flag=True, help="Also check other machines: the model's endpoint.")
@click.option("--audit", is_flag=True, help="Also verify the whole audit log.")
@click.option(
    "--bundle",
    metavar="FILE",
    type=FilePathParam(dir_okay=False),
    help="Also write an archive of diagnostics, as 'hub debug bundle' does.",
)
@click.option("--all-nodes", is_flag=True, help="Check every node of the hub.")
@config_option
@hub_option
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    all_nodes: bool,
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
    asked = _asked(
        state, config, online=online, anew=bool(done), audit=audit, is_here=is_here, all_nodes=all_nodes
    )
    issues = [*asked, *((*_of_places(ctx), *_of_zones(ctx, state)) if is_here else ())]
    issues.sort(key=_place)
    if as_json:
        show.print_json("doctor", {"issues": issues, "fixed": done})
    else:
        for change in done:
            show.report(change)
        _print(issues)
    if bundle is not None:
        _report_bundle(bundle, write_bundle(bundle, state=state, config=config))
    if any(issue["severity"] != "notice" for issue in issues):
        ctx.exit(Exit.FAILED)


def _place(issue: Issue) -> tuple[bool, int, str]:
    """Return the sort key of an issue, as the hub orders them."""
    return not issue["is_stop"], _ORDER.index(issue["severity"]), issue["since"] or ""


def _asked(
    state: Path, config: Path, *, online: bool, anew: bool, audit: bool, is_here: bool, all_nodes: bool
) -> Iterator[Issue]:
    """Yield the issues of the hub; if none runs on this machine, the issues visible without it."""
    try:
        with open_client(state) as hub:
            params = {"online": online or None, "anew": anew or None}
            if all_nodes:
                yield from of_nodes(hub.get_of_nodes("/v1/issues", limit=PAGE, **params))
            else:
                yield from hub.get_all("/v1/issues", "issues", **params)["issues"]
                if muted := len(hub.get_all("/v1/issues", "issues", muted=True)["issues"]):
                    show.report(f"muted: {muted}; hub issues ls --muted lists them")
            checked = hub.get("/v1/audit/verify") if audit else None
    except CommandError as failure:
        if failure.exit_code != Exit.NOT_RUNNING or not is_here:
            raise
        yield _issue("hub.down", failure.message, fix=failure.next_step)
        yield from _seen_without_it(state, config)
        return
    if checked is not None and not checked["ok"]:
        for found in checked["breaks"]:
            yield _issue("audit.broken", found["what"], fix="hub audit verify", subject=str(found["seq"]))


def _of_places(ctx: click.Context) -> Iterator[Issue]:
    """Yield the problems of the places where approved items of this machine's device go."""
    from hub.cli.device import database, default_settings
    from hub.device.sinks.place_book import PlaceBook
    from protocol.places import PlaceOrder

    config = default_settings()
    with suppress(CommandError):  # several devices have run here
        book = PlaceBook(config, database(ctx, config), SystemClock().now)
        for place in book.answer(PlaceOrder(do="list")).places if config.exists() else ():
            if place.problem:
                explanation = f"approved items wait for {place.name}, {place.place}: {place.problem}"
                issue = _issue(
                    "place.away", explanation, fix=place.remedy, severity="warning", subject=place.name
                )
                yield issue if place.is_lasting else issue | {"severity": "notice"}


def _of_zones(ctx: click.Context, state: Path) -> Iterator[Issue]:
    """Yield the agents of this machine's devices that read times of another zone."""
    from hub.cli.connect import device_file
    from hub.cli.device import SETTINGS

    names = {file.stem for file in device_file(ctx, SETTINGS).parent.glob("*.db")}
    with suppress(CommandError), open_client(state) as hub:  # else no hub runs here
        agents = hub.get_all("/v1/agents", "agents")["agents"] if names else []
        for agent in agents:
            if agent["device"] in names and (found := other_zone(agent, agents)):
                yield _issue("agent.zone", found[0], fix=found[1], severity="notice", subject=agent["id"])


def of_nodes(found: Sequence[Mapping[str, Any]]) -> Iterator[Issue]:
    """Yield the issues of several nodes; one that not all of them have, or fix alike, names its nodes."""
    nodes: dict[tuple[str, str, str, str], list[str]] = {}
    issues: dict[tuple[str, str, str, str], Issue] = {}
    for node in found:
        for issue in node["body"]["issues"]:
            key = (issue["id"], issue["subject"], issue["explanation"], issue["fix"])
            issues.setdefault(key, issue)
            nodes.setdefault(key, []).append(f"{node['name'] or 'node'} ({show.short_id(node['id'])})")
    for key, issue in issues.items():
        where = "" if len(nodes[key]) == len(found) else f"{', '.join(nodes[key])}: "
        yield issue | {"explanation": where + issue["explanation"]}


def _seen_without_it(state: Path, config: Path) -> Iterator[Issue]:
    from hub.base.toml.problems import SettingsInvalid
    from hub.health.machine_and_load import exposed_in
    from hub.settings.reading import SettingsFile, check_settings, open_settings

    reading = check_settings(config)
    for problem in reading.problems:
        severity = "error" if problem.severity == "error" else "warning"
        explanation, fix = str(problem._replace(hint="")), problem.hint or f"hub check {shell_word(config)}"
        yield _issue("settings.wrong", explanation, fix=fix, severity=severity, subject=problem.path)
    if not state.is_dir():
        yield _issue("folder.missing", f"there is no folder {state}", fix="hub serve creates it")
        return
    for exposed in exposed_in(state):
        explanation = f"other users of this machine can access {exposed.path} (mode {exposed.mode:04o})"
        yield _issue(
            "folder.open", explanation, fix="hub doctor --fix", severity="warning", subject=str(exposed.path)
        )
    with suppress(SettingsInvalid):  # already listed
        opened = open_settings(SettingsFile(config, serving=False), state, only_reads=True)
        yield from _database_faults(opened.settings.storage, state)


def _database_faults(storage: "StorageSettings", state: Path) -> Iterator[Issue]:
    from hub.app.state_database import check_database
    from hub.base.toml.values import SecretMissing
    from hub.health.backups import way_to_restore
    from protocol.errors import CodedError
    from storage.kernel.address import SERVER
    from storage.kernel.backup import BackupRefused, checked
    from storage.kernel.database import DatabaseUnavailable, file_of
    from storage.kernel.verify import schema_version_of

    broken: tuple[BrokenRow, ...] = ()
    try:
        url = storage.resolved()
        anyio.run(check_database, url, state)
        database = None if url.startswith(SERVER) else file_of(url, state)
        if database is not None and database.exists() and database.stat().st_size:  # else no hub has used it
            broken = _broken_rows(database)
            yield from map(_about_row, broken)
            checked(database)
        if refusal := anyio.run(partial(schema_version_of, url, base=state)).refusal:
            fix = f"start that hub, or {anyio.run(way_to_restore, state)}"
            yield _issue("database.refused", refusal, fix=fix)
    except CodedError as error:
        yield _issue("database.missing", str(error), fix=error.hint)
    except SecretMissing:
        return  # already listed with the problems of the settings
    except (DatabaseUnavailable, OSError) as error:
        fix = "check storage.url in the settings, and that the hub can write that file and its folder"
        yield _issue("database.unreadable", str(error), fix=fix)
    except BackupRefused as error:
        if not broken:  # else these are the damage
            yield _issue("database.damaged", str(error), fix=anyio.run(way_to_restore, state))


def _broken_rows(database: Path) -> "tuple[BrokenRow, ...]":
    from storage.kernel.database import StorageError
    from storage.kernel.verify import verify

    try:
        return anyio.run(verify, f"sqlite:///{database}").broken
    except StorageError:  # the file itself is damaged
        return ()


def _about_row(row: "BrokenRow") -> Issue:
    explanation = f"another program or a damaged disk broke a row, which a hub leaves out: {row}"
    fix = "correct the row with SQL, delete it, or restore a backup"
    return _issue("row.broken", explanation, fix=fix, subject=f"{row.table} {row.key}")


def _close_to_others(state: Path) -> Iterator[str]:
    """Remove other users' access to the state folder. Yield a sentence for each change."""
    from hub.health.machine_and_load import exposed_in

    for exposed in exposed_in(state) if state.is_dir() else ():
        exposed.path.chmod(exposed.expected_mode)
        closed = f"closed {exposed.path} to other users"
        yield f"{closed}: mode {exposed.mode:04o} is {exposed.expected_mode:04o} now"


def _print(issues: list[Issue]) -> None:
    for issue in issues:
        show.out("\n".join(show.issue_lines(issue)))
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
        "fixes": [],
        "is_stop": False,
    }


@click.group(epilog=example("hub debug bundle hub-debug.tar.gz"))
def debug() -> None:
    """Inspect a running hub, or pack diagnostics into an archive.

    SIGUSR1 makes a hub write its dump to its log, even if it does not answer requests.
    """


@debug.command(epilog=example("hub debug bundle hub-debug.tar.gz"))
@click.argument("file", type=FilePathParam(dir_okay=False))
@config_option
@state_option
@json_option
def bundle(file: Path, config: Path, state: Path, as_json: bool) -> None:
    """Write an archive (.tar.gz) with status, log, metrics, dump and settings.

    It has no tokens, keys, passwords or contents of documents, but names of devices, agents and files:
    check it before you pass it on. Without a running hub it has only the parts from this machine.
    """
    missing = write_bundle(file, state=state, config=config)
    if as_json:
        show.print_json("bundle", {"file": str(file), "missing": missing})
    else:
        _report_bundle(file, missing)


def _report_bundle(file: Path, missing: Mapping[str, str]) -> None:
    show.report(f"wrote {file}; check it before you pass it on")
    for name, why in missing.items():
        show.report(f"  without {name}: {why}")


# Routes of the running hub, by the file of the archive that gets their response.
ANSWERS: Final[Mapping[str, str]] = {
    "status.json": "/v1/status",
    "readiness.json": "/readyz",
    "issues.json": "/v1/issues",
    "settings.json": "/v1/config",
    "dump.json": "/v1/debug/dump",
    "devices.json": "/v1/devices",
    "agents.json": "/v1/agents",
    "runs.json": "/v1/runs",
    "audit.json": "/v1/audit",
}


def write_bundle(file: Path, *, state: Path, config: Path) -> dict[str, str]:
    """Write the archive, readable by its owner only.

    Returns:
        reasons of the missing parts, by the part's name.

    Raises:
        Failure: the file exists already, or cannot be written.
    """
    missing: dict[str, str] = {}
    parts = dict(_parts(state, config, missing))
    now = show.clock.now()
    about = {
        "made_at": now.isoformat(),
        "version": VERSION,
        "python": platform.python_version(),
        "system": platform.platform(),
        "missing": missing,
    }
    parts["about.json"] = _as_json(about)
    stem = file.name.removesuffix(".tar.gz").removesuffix(".tgz") or "bundle"
    with using(file, "write", Exit.CANNOT_CREATE):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, text in parts.items():
                raw = text.encode()
                entry = tarfile.TarInfo(f"{stem}/{name}")
                entry.size, entry.mode, entry.mtime = len(raw), 0o600, int(now.timestamp())
                archive.addfile(entry, io.BytesIO(raw))
    return missing


def _parts(state: Path, config: Path, missing: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file of the archive; enter the reasons of the others in *missing*."""
    from hub.base.log.redaction import redact

    yield "folder.txt", "".join(f"{line}\n" for line in _listing(state))
    try:
        yield "hub.toml", redact(config.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        missing["hub.toml"] = str(error)
    with ExitStack() as open_talk:
        try:
            hub = open_talk.enter_context(open_client(state))
        except CommandError as failure:
            missing["all that a running hub tells"] = failure.message
            return
        asked: dict[str, Callable[[], str]] = {
            name: partial(_answer, hub, path) for name, path in ANSWERS.items()
        }
        asked |= {"metrics.txt": lambda: redact(hub.text("/metrics")), "log.jsonl": partial(_log, hub)}
        for name, ask in asked.items():
            try:
                yield name, ask()
            except CommandError as failure:
                missing[name] = failure.message


def _answer(hub: HubClient, path: str) -> str:
    from hub.base.log.redaction import redact_fields

    return _as_json(redact_fields(hub.get(path)))


def _log(hub: HubClient) -> str:
    """Return the log entries that the hub keeps, oldest first, as JSON lines."""
    from hub.base.log.redaction import redact_fields

    entries = hub.get_all("/v1/logs", "entries", level="debug")["entries"]
    return "".join(json.dumps(redact_fields(entry), ensure_ascii=False) + "\n" for entry in entries[::-1])


def _listing(folder: Path) -> Iterator[str]:
    """Yield a line for each file of the state folder: mode, owner, size and name."""
    for path in sorted([folder, *folder.rglob("*")]):
        try:
            found = path.lstat()
        except OSError as error:
            yield f"?  {path}: {error.strerror}"
            continue
        name = "." if path == folder else path.relative_to(folder)
        yield f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid} {found.st_size:>12} {name}"


def _as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
