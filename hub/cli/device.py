"""Commands ``hub device``: run, install, pause and inspect this machine's device (device.toml)."""

import json
import math
import sys
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import platformdirs

from hub.base.clock import SystemClock, epoch_ms, from_epoch_ms
from hub.base.name_lists import counted
from hub.cli import show
from hub.cli.connect import device_file, device_name, file_here, preview_of, show_preview, size_text
from hub.cli.daemon import make_folder
from hub.cli.errors import CommandError, Exit, using
from hub.cli.options import (
    NAME,
    STATE,
    DurationParam,
    FilePathParam,
    device_state_option,
    example,
    json_option,
    moment_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.device.autostart import LoginEntry
    from hub.device.daemon import DevicePlan
    from hub.device.sent_files import Day, HeldBack, SentEntry
    from hub.device.settings import DeviceSettings
    from hub.device.sinks.sink import Sink

SETTINGS: Final = "device.toml"
_SCHEMA: Final = "device.schema.json"  # named in the first line of the settings


def default_settings() -> Path:
    """Return the settings file of the device of this user."""
    return platformdirs.user_config_path("hub", appauthor=False) / SETTINGS


def _settings_file(_: click.Context, __: click.Parameter, chosen: Path | None) -> Path:
    return chosen or default_settings()


settings_option = click.option(
    "--config",
    type=FilePathParam(),
    callback=_settings_file,
    help="The settings file [default: device.toml in this user's folder of settings].",
)


@click.group(epilog=example("hub device install"))
def device() -> None:
    """Keep this machine connected as a device; see what it sends and has sent.

    It has a settings file of its own, device.toml, whose changes take effect at once.
    """


@device.command(epilog=example("hub device preview --root /home/anna/notes --json"))
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=FilePathParam(exists=True, file_okay=False),
    help="A folder to share; may be given several times [default: those of the device].",
)
@click.option("--name", type=NAME, help="Name of the device [default: the only one on this machine].")
@click.option("--db", type=FilePathParam(dir_okay=False), help="The device's database.")
@click.option("--names-only", is_flag=True, help="Do not read the files to search for keys and passwords.")
@settings_option
@device_state_option
@json_option
@click.pass_context
def preview(
    ctx: click.Context,
    roots: tuple[Path, ...],
    name: str | None,
    db: Path | None,
    names_only: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Show what the device would offer a hub, and what stays here and why. Nothing is sent.

    Files are counted by folder and ending. A file with a key or a password is named with its line.
    """
    import msgspec

    from hub.device.preview import known_roots
    from hub.device.settings import check_device_file

    settings = None if db or name else check_device_file(config).settings
    if settings is None and config.exists() and not (db or name):
        show.report(f"{config} has errors and is not used: hub device status names them")
    folders = roots or (settings.roots if settings else known_roots(database(ctx, config, db, name)))
    for root in folders:
        if not root.is_dir():
            show.report(f"there is no folder {root}")
    is_new, folders = not folders, [root for root in folders if root.is_dir()]
    if not folders:
        problem = "this device has not shared a folder yet" if is_new else "no folder to share is there"
        again = "" if is_new or roots else "put it back, or name its new path: hub up FOLDER; or "
        next_step = f"{again}name a folder: {ctx.command_path} --root DIR"
        raise CommandError(problem, Exit.USAGE, next_step=next_step)
    found = preview_of(folders, 0 if names_only else math.inf, settings)
    if as_json:
        show.print_json("device.preview", msgspec.to_builtins(found))
    else:
        show_preview(found)


@device.command(epilog=example("hub device run"))
@settings_option
@device_state_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
)
@click.pass_context
def run(ctx: click.Context, config: Path, log_level: str) -> None:
    """Run the device of device.toml in the foreground, as the service manager does.

    A changed file takes effect within a second; while it has errors, the settings of before
    stay in use.
    """
    import anyio

    from hub.base.log import open_log
    from hub.device.app import until_signal
    from hub.device.daemon import Keeper
    from hub.device.device_file import RUN_LOCK, DeviceFileError, held
    from hub.device.settings import check_device_file

    def load() -> "DevicePlan":
        return _plan(ctx, config, check_device_file(config).usable())

    require_settings(config)
    make_folder(load().options.db.parent)
    with closing(open_log(log_level)) as opened:
        keeper = Keeper(config, load, SystemClock(), opened.show)
        try:
            with held(load().options.db, RUN_LOCK, settings=config.absolute()):
                code = anyio.run(until_signal, keeper.serve, opened.show)
        except DeviceFileError as error:
            next_step = "hub device status shows it"
            raise CommandError(str(error), Exit.CANNOT_CREATE, next_step=next_step) from error
    ctx.exit(code)


@device.command(epilog=example("hub device install ws://127.0.0.1:8770 --root /home/anna/notes"))
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=FilePathParam(exists=True, file_okay=False),
    help="A folder to share; may be given several times [default: those of the device].",
)
@click.option("--name", type=NAME, help="Name of the device [default: the only one on this machine].")
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
@settings_option
@device_state_option
@click.pass_context
def install(
    ctx: click.Context,
    urls: tuple[str, ...],
    roots: tuple[Path, ...],
    name: str | None,
    only_print: bool,
    config: Path,
) -> None:
    """Start the device at every login, and now.

    Writes device.toml if there is none: with URL and --root, else with the hub and the folders
    of the device that 'hub connect' ran. Then writes a unit of systemd, an agent of launchd, or a
    task of Windows, and starts it.
    """
    from hub.device import autostart
    from hub.device.settings import check_device_file, device_text

    entry = _entry(ctx, config)
    text = None if config.exists() else device_text(*_of_last_device(ctx, urls, roots, name))
    if text is None and (urls or roots or name):
        show.report(f"{config} is there and was not changed: its addresses and folders are used")
    if only_print:
        if text is not None:
            show.out(f"# ===== {config}\n{text}")
        show.out(f"# ===== {entry.file}\n{_shown(entry.content)}", end="")
        return
    if text is not None:
        write_settings(ctx, config, text)
    check_device_file(config).usable()
    try:
        autostart.install(entry)
    except (autostart.CannotStart, OSError) as error:
        next_step = "run it yourself: hub device run"
        raise CommandError(
            f"the device does not start at login: {error}", Exit.FAILED, next_step=next_step
        ) from error
    show.report(
        f"wrote {entry.file}: the device is started now and at every login", "hub device status shows it"
    )


def write_settings(ctx: click.Context, config: Path, text: str) -> None:
    """Write a new device.toml, and its schema next to it. Raises Failure: it cannot be written."""
    from hub.device.device_file import forget_settings
    from hub.device.settings import device_schema

    make_folder(config.parent)
    forget_settings(device_file(ctx, SETTINGS).parent, config.absolute())
    with using(config, "write", Exit.CANNOT_CREATE):
        config.write_text(text, "utf-8")
        schema = json.dumps(device_schema(), indent=2, ensure_ascii=False)
        config.with_name(_SCHEMA).write_text(f"{schema}\n", "utf-8")
    show.report(f"wrote {config}")


@device.command(epilog=example("hub device uninstall"))
@settings_option
@device_state_option
@click.pass_context
def uninstall(ctx: click.Context, config: Path) -> None:
    """Stop the device, and start it no more at login. Its settings and its data stay."""
    from hub.device import autostart

    entry = _entry(ctx, config)
    try:
        was_installed = autostart.uninstall(entry)
    except (autostart.CannotStart, OSError) as error:
        raise CommandError(f"the device is still started at login: {error}", Exit.FAILED) from error
    show.report(f"removed {entry.file}" if was_installed else "the device was not installed")


@device.command(epilog=example("hub device pause 1h"))
@click.argument("duration", type=DurationParam(), required=False)
@settings_option
@device_state_option
@click.pass_context
def pause(ctx: click.Context, duration: float | None, config: Path) -> None:
    """Disconnect the device for a time, or until it is resumed. Suggestions wait at the hub."""
    from hub.device.daemon import pause as pause_device
    from hub.device.daemon import why_paused

    db = database(ctx, config)
    clock = SystemClock()
    make_folder(db.parent)
    pause_device(db, None if duration is None else clock.now() + timedelta(seconds=duration))
    show.report(why_paused(db, clock))


@device.command(epilog=example("hub device resume"))
@settings_option
@device_state_option
@click.pass_context
def resume(ctx: click.Context, config: Path) -> None:
    """End the pause of the device."""
    from hub.device.daemon import resume as resume_device

    is_ended = resume_device(database(ctx, config))
    show.report("the pause is over" if is_ended else "the device was not paused")


@device.command(epilog=example("hub device status"))
@settings_option
@device_state_option
@json_option
@click.pass_context
def status(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Show whether the device runs, is connected or paused, and what it shares."""
    from hub.device import autostart
    from hub.device.daemon import last_message, why_paused
    from hub.device.device_file import RUN_LOCK, is_in_use
    from hub.device.owner_requests import SUFFIX
    from hub.device.sending_log import read_faults

    plan, clock = _plan(ctx, config, settings_of(config)), SystemClock()
    options, entry = plan.options, _entry(ctx, config)
    is_served = is_in_use(options.db)
    is_running = is_served or is_in_use(options.db, RUN_LOCK)
    is_connected = is_served and options.db.with_suffix(SUFFIX).exists()
    facts = {
        "device": options.name,
        "settings": str(config),
        "data": str(options.db),
        "starts_at_login": entry.file.exists() and autostart.is_running(entry),
        "is_running": is_running,
        "is_connected": is_connected,
        "pause": why_paused(options.db, clock)
        or ("these are its quiet hours" if plan.when.is_quiet(clock.now().astimezone().time()) else ""),
        "last_message": "" if is_connected else last_message(options.db),
        "notification": _notification(plan),
        "hub": list(options.urls),
        "roots": [str(root) for root in options.roots if root.is_dir()],
        "missing_roots": [str(root) for root in options.roots if not root.is_dir()],
        "faults": read_faults(options.db),
        "remarks": remarks_of(options.db, plan.sinks),
    }
    if as_json:
        show.print_json("device.status", facts)
        return
    shown = {name.replace("_", " "): _word(value) for name, value in facts.items() if value not in ("", [])}
    show.print_facts(shown)
    if not is_running:
        show.report("start it: hub device install, hub device run, or what started it: hub up")


@device.command(epilog=example("hub device log --since 2h --files"))
@moment_option("--since", "Only from then on")
@click.option("--files", "with_files", is_flag=True, help="List each file that was sent.")
@click.option("--held-back", is_flag=True, help="List the files that were not sent, with the reasons.")
@click.option("--verify", is_flag=True, help="Compare the log with what the hub has and signed.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Most lines.")
@click.option("--name", type=NAME, help="Name of the device [default: the only one on this machine].")
@click.option("--db", type=FilePathParam(dir_okay=False), help="The device's database.")
@settings_option
@device_state_option
@json_option
@click.pass_context
def log(
    ctx: click.Context,
    since: str | None,
    with_files: bool,
    held_back: bool,
    verify: bool,
    limit: int,
    name: str | None,
    db: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Show what the device has sent to which hub, and who read it there: by day, or file by file.

    It is in the device's own database, and needs no hub. The reader is 'rules', or a model and
    whether it is local or in the cloud, as the hub says.

    --verify asks the hub by the device, if it is connected, and lists each difference; without the
    hub it compares the receipts that the hub has signed. Exits with 1 if there is a difference.
    """
    import msgspec

    from hub.device.sending_log import read_faults
    from hub.device.sent_files import read_days, read_held_back, read_sent

    if with_files + held_back + verify > 1:
        raise CommandError("--files, --held-back and --verify are different lists; name one", Exit.USAGE)
    file = database(ctx, config, db, name)
    since_ms = 0 if since is None else epoch_ms(datetime.fromisoformat(since))
    if verify:
        ctx.exit(_verify(file, since_ms, limit, as_json))
    read = read_held_back if held_back else read_sent if with_files else read_days
    rows = read(file, since_ms, limit)
    show.report(*read_faults(file))
    if as_json:
        show.print_json("device.log", {"entries": msgspec.to_builtins(rows)})
        return
    listed = [_cells(row) for row in rows]
    if not listed:
        show.report("nothing was held back" if held_back else "nothing was sent")
        return
    show.print_table(list(listed[0]), [list(cells.values()) for cells in listed])


@device.command(epilog=example("hub device sync"))
@click.option(
    "--again",
    is_flag=True,
    help="Also write items again that were deleted or refused there, or whose file is new.",
)
@click.option(
    "--agree",
    metavar="NAME",
    multiple=True,
    help="Agree to what 'hub places' asks about this place; tick_in: about notes with boxes.",
)
@settings_option
@device_state_option
@click.pass_context
def sync(ctx: click.Context, again: bool, agree: tuple[str, ...], config: Path) -> None:
    """Synchronize approved items with the places of [[sinks]] now, and tick boxes below tick_in.

    A running device does both by itself.
    """
    from hub.device.device_file import connect_shared
    from hub.device.sinks import answers
    from hub.device.sinks.configured import sinks_of
    from hub.device.sinks.file_ticks import tick_sources
    from hub.device.sinks.recorded_rows import write_again
    from hub.device.sinks.remarks import boxes_of_others
    from hub.device.sinks.states import forget_others
    from hub.device.sinks.sync import synchronize
    from hub.device.sinks.text_file import TextFile

    has_problem = False
    file = database(ctx, config)
    settings = settings_of(config)
    current = sinks_of(config, file, settings)
    if not file.exists():
        raise CommandError("this device has no items yet", Exit.USAGE, next_step="start it: hub device run")
    with connect_shared(file) as db:
        forget_others(db, [sink.name for sink in current])
        for name in agree:
            if not answers.agree(db, "" if name == "tick_in" else name):
                show.report(f"{name}: there is nothing to agree to")
        for sink in current:
            if again:
                write_again(db, sink.name)
            synced = synchronize(db, sink, SystemClock().now())
            counts = {
                "written": synced.written,
                "removed": synced.removed,
                "taken back": synced.taken_back,
                "deleted there": synced.deleted,
                "not found: sync again in 10 seconds": synced.missed,
            }
            done = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            has_problem |= bool(synced.problem)
            summary = "; ".join(filter(None, (done, synced.problem))) or "nothing has changed"
            show.report(f"{sink.name}: {summary}")
        files = [sink for sink in current if isinstance(sink.target, TextFile)]
        ticked = tick_sources(db, settings.tick_in, SystemClock().now(), sinks=files)
        if ticked.problem:
            has_problem = True
            show.report(f"tick_in: {ticked.problem}")
        for remark in boxes_of_others(db).values():
            show.report(remark)
    ctx.exit(Exit.FAILED if has_problem else 0)


def _verify(file: Path, since_ms: int, limit: int, as_json: bool) -> Exit:
    """Show how the log differs from what the hub has, and return the exit code."""
    import msgspec

    from hub.device.hub_receipts import compare, hub_at
    from hub.device.known_hubs import fingerprint

    found = compare(file, since_ms, hub_at(file))
    code = Exit.FAILED if found.differences else Exit.DONE
    if as_json:
        show.print_json("device.verify", msgspec.to_builtins(found))
        return code
    findings = [*found.differences, *found.not_compared]
    if findings:
        shown = findings[:limit]
        rows = [[line.kind, fingerprint(line.hub)[:7], line.run_id, line.path, line.words] for line in shown]
        show.print_table(["difference", "hub", "run", "file", "what"], rows)
    places = f"{counted(found.files, 'file')} in {counted(found.receipts, 'receipt')}"
    summary = f"{places}: {counted(len(found.differences), 'difference')}"
    show.report(summary if len(findings) <= limit else f"{summary}; {limit} lines are shown (--limit)")
    return code


def _cells(row: "Day | SentEntry | HeldBack") -> dict[str, object]:
    """Return the cells of a row of the log by their headers."""
    import msgspec

    from hub.device.known_hubs import fingerprint

    cells = msgspec.structs.asdict(row)
    if (at := cells.pop("at_ms", None)) is not None:
        cells = {"at": show.column_moment(from_epoch_ms(at).isoformat(), seconds=True), **cells}
    cells["hub"] = fingerprint(cells["hub"])[:7]
    for key in ("run_id", "agent_id", "sha256"):
        cells.pop(key, None)
    if "bytes" in cells:
        cells["bytes"] = size_text(cells["bytes"])
    return cells


def _word(value: object) -> object:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case _:
            return value


def _notification(plan: "DevicePlan") -> str:
    """Return when the notification of items that wait is shown, and what it lacks."""
    from hub.device.notices import missing_program

    if plan.notify.at is None:
        return "none: set daily in [notify] of the settings"
    program = missing_program()
    lacks = f", but the program {program} is not installed" if program else ""
    return f"once a day, from {plan.notify.at:%H:%M} on{lacks}"


def database(ctx: click.Context, config: Path, db: Path | None = None, name: str | None = None) -> Path:
    """Return the database that was named, else that of device.toml, else the only one on this machine."""
    from hub.device.settings import check_device_file

    settings = None if db or name else check_device_file(config).settings
    if settings is not None:
        return _database(ctx, config, device_name(settings.name))
    return file_here(ctx, db, name)  # the file is missing, or has errors while the device goes on


def _database(ctx: click.Context, config: Path, name: str) -> Path:
    """Return the database of device.toml: that of its first name, with its key, whatever the name is now."""
    from hub.device.device_file import file_of_settings

    by_name = device_file(ctx, name)
    return file_of_settings(by_name.parent, config.absolute()) or by_name


def settings_of(config: Path) -> "DeviceSettings":
    """Return the settings of a device. Raises SettingsInvalid: they are unusable; CommandError: missing."""
    from hub.device.settings import check_device_file

    require_settings(config)
    return check_device_file(config).usable()


def require_settings(config: Path) -> None:
    """Check that there is a device.toml. Raises CommandError."""
    if not config.exists():
        next_step = "make it: hub device install, or hub up FOLDER"
        raise CommandError(f"there is no settings file {config}", Exit.SETTINGS, next_step=next_step)


def _plan(ctx: click.Context, config: Path, settings: "DeviceSettings") -> "DevicePlan":
    from hub.device.app import DeviceOptions
    from hub.device.daemon import DevicePlan
    from hub.device.sinks.configured import sinks_of

    name = device_name(settings.name)
    options = DeviceOptions(
        urls=settings.hub,
        roots=settings.roots,
        db=_database(ctx, config, name),
        name=name,
        codec=settings.codec,
        max_file_bytes=settings.max_file_bytes,
        hidden=settings.hidden,
        ignore=settings.ignore,
        settings=config.absolute(),
    )
    sinks = sinks_of(config, options.db, settings)
    return DevicePlan(options, settings.when, settings.notify, sinks, settings.tick_in)


def remarks_of(db: Path, sinks: "Sequence[Sink]") -> list[str]:
    """Return remarks about approved rows without a place, columns without a field, and boxes."""
    from hub.device.device_file import DeviceFileError, connect_shared
    from hub.device.sinks.remarks import remarks_on

    with suppress(DeviceFileError), connect_shared(db) as opened:
        return [*remarks_on(opened, sinks, SystemClock().now()).values()]
    return []


def _entry(ctx: click.Context, config: Path) -> "LoginEntry":
    """Return what starts the device at login on this system."""
    from hub.base.system.processes import user_name
    from hub.device.autostart import entry_of

    state = ctx.meta.get(STATE) or ctx.find_root().params.get("state")
    options = ["--config", str(config.absolute()), *(["--state", str(state)] if state else [])]
    command = [sys.executable, "-m", "hub", "device", "run", *options]
    entry = entry_of(command, home=Path.home(), user=user_name())
    if entry is None:
        message = f"how a program is started at login is not known on {sys.platform}"
        raise CommandError(message, Exit.UNAVAILABLE, next_step="start it yourself: hub device run")
    return entry


def _of_last_device(
    ctx: click.Context, urls: tuple[str, ...], roots: tuple[Path, ...], name: str | None
) -> tuple[tuple[str, ...], tuple[Path, ...], str]:
    """Return addresses, folders and name as given, else as of the device that 'hub connect' ran here."""
    if urls and roots:
        return urls, tuple(root.absolute() for root in roots), device_name(name)
    from hub.device.preview import known_roots, last_addresses

    file = file_here(ctx, None, name)
    urls = urls or tuple(last_addresses(file))
    roots = roots or tuple(known_roots(file))
    if len(urls) != 1 or not roots:  # a device that knows several hubs
        next_step = f"name them: {ctx.command_path} URL --root DIR"
        raise CommandError(
            "the hub and the folders of the device are not known", Exit.USAGE, next_step=next_step
        )
    return urls, roots, file.stem


def _shown(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
