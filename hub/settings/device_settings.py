"""Settings file of a device, device.toml: its tables, and how it is read and checked."""

import json
import re
from collections.abc import Mapping
from datetime import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import tomlkit
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo

from hub.device.exclusion import is_pattern
from hub.settings.problems import (
    Located,
    Places,
    Problem,
    SettingsInvalid,
    found_by_validation,
    in_order,
)
from hub.settings.reading import parsed
from hub.settings.schema import DIALECT, Generator, default_at, names_at
from hub.settings.values import REQUIRED, Flag, Name, SettingsPath, Table, Whole, live, refusal

_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_HOURS: Final = re.compile(rf"{_TIME.pattern}-{_TIME.pattern}")
_SCHEMES: Final = ("ws://", "wss://")


def _address(url: str) -> str:
    if not url.startswith(_SCHEMES):
        raise refusal("address", "an address of a hub begins with ws:// or wss://")
    return url


def _hours(text: str) -> str:
    if not text:
        return text
    found = _HOURS.fullmatch(text)
    if found is None:
        raise refusal(
            "hours", "hours are from-until", hint='as in "22:00-07:00", in the time of this machine'
        )
    if found.group(1, 2) == found.group(3, 4):
        hint = "to disconnect for the whole day: hub device pause; without quiet hours: leave quiet out"
        raise refusal("hours", "hours begin and end at the same time", hint=hint)
    return text


def _time(text: str) -> str:
    if text and not _TIME.fullmatch(text):
        raise refusal("time", "a time of day is expected", hint='as in "09:00", or "" for never')
    return text


def _pattern(text: str) -> str:
    if not is_pattern(text):
        hint = 'as a line of .hubignore: "*.log", "/drafts/"'
        raise refusal("pattern", "this is not a pattern of an ignore file", hint=hint)
    return text


class WhenSettings(Table):
    """Times at which the device is connected."""

    on_power: Flag = live(False, "Only while the machine is on mains power.")
    unmetered: Flag = live(False, "Only in networks that do not charge by volume, as the system knows.")
    quiet: Annotated[str, AfterValidator(_hours)] = live("", 'Not in these hours: "22:00-07:00".')

    def is_quiet(self, now: time) -> bool:
        """Return True in the quiet hours, which may contain midnight."""
        found = _HOURS.fullmatch(self.quiet)
        if found is None:
            return False
        start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
        return start <= now < end if start <= end else now >= start or now < end


class NotifySettings(Table):
    """Notification on the desktop of the items that wait."""

    daily: Annotated[str, AfterValidator(_time)] = live(
        "09:00", 'Once a day from this time on, if items wait; "": never.'
    )
    titles: Flag = live(False, "With the titles of the newest items, which others may see on the screen.")

    @property
    def at(self) -> time | None:
        """Time of day; None: no notification."""
        return time.fromisoformat(self.daily) if self.daily else None


def _of_kind(tables: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    kind = info.data.get("kind")
    if kind == "csv" and len(tables) != 1:
        raise refusal("tables", "a CSV file has one table", hint="write the others to files of their own")
    if kind == "todo.txt" and tables != ("tasks",):
        raise refusal("tables", "todo.txt has tasks and nothing else", hint="leave tables out")
    return tables


def _of_days(path: Path, info: ValidationInfo) -> Path:
    if "{date}" in str(path) and info.data.get("kind") != "markdown":
        raise refusal(
            "path", "a file for each day is Markdown", hint='kind = "markdown", or leave {date} out'
        )
    return path


def _differently_named(sinks: tuple["SinkSettings", ...]) -> tuple["SinkSettings", ...]:
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise refusal("name", f"two sinks are called {name}")
    return sinks


class SinkSettings(Table):
    """Place where approved rows go."""

    name: Name = live(REQUIRED, "Name of the place.")
    kind: Literal["markdown", "todo.txt", "ics", "csv", "jsonl"] = live(REQUIRED, "Form of the file.")
    path: Annotated[SettingsPath, AfterValidator(_of_days)] = live(
        REQUIRED, "The file; in one of Markdown, {date} becomes the day of the approval."
    )
    tables: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_of_kind)] = live(
        ("tasks",), "Tables whose approved rows go there."
    )
    back: Flag = live(True, "What is ticked, renamed or dated there is changed here, too.")


class DeviceSettings(Table):
    """Settings of this machine as a device of a hub."""

    hub: Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], Field(min_length=1)] = live(
        REQUIRED, "Addresses of the hub; if a connection ends, the others are tried at once."
    )
    roots: Annotated[tuple[SettingsPath, ...], Field(min_length=1)] = live(REQUIRED, "Folders to share.")
    name: Name | None = live(None, "Name of this device [default: this machine's name].")
    codec: Literal["json", "msgpack"] = live("json", "Form of the frames.")
    max_file_bytes: Whole = live(16 * 1024 * 1024, "Larger files stay here.")
    hidden: Flag = live(False, "Also offer files and folders whose names begin with a dot; keys stay here.")
    ignore: tuple[Annotated[str, AfterValidator(_pattern)], ...] = live(
        (), "Patterns of what stays here in every folder, as in .hubignore; they have the last word."
    )
    tick_in: tuple[SettingsPath, ...] = live(
        (), "Folders whose notes are changed: the box of a task is ticked there once it is done."
    )
    when: WhenSettings = WhenSettings()
    notify: NotifySettings = NotifySettings()
    sinks: Annotated[tuple[SinkSettings, ...], AfterValidator(_differently_named)] = live(
        (), "Files that approved rows go to; see hub device sinks."
    )


class DeviceReading(NamedTuple):
    """Result of reading a file: *settings* if they are usable, and all problems in order."""

    settings: DeviceSettings | None
    problems: list[Problem]

    def usable(self) -> DeviceSettings:
        """Return the settings.

        Raises:
            SettingsInvalid: the settings are unusable; it has all problems.
        """
        if self.settings is None:
            raise SettingsInvalid(self.problems)
        return self.settings


def check_device_file(path: Path) -> DeviceReading:
    """Read device.toml and report all of its problems."""
    file = str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        hint = "'hub device install' writes one" if isinstance(error, FileNotFoundError) else ""
        return DeviceReading(None, [Problem(file, 1, 1, "", error.strerror or "cannot be read", hint)])
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode().split("\n")
        return DeviceReading(None, [Problem(file, len(before), len(before[-1]) + 1, "", "not UTF-8")])
    doc = parsed(text, file)
    if isinstance(doc, Problem):
        return DeviceReading(None, [doc])
    places = Places(file, Located(text), doc, [])
    try:
        settings = DeviceSettings.model_validate(doc, context={"base": path.absolute().parent})
    except ValidationError as error:
        problems = found_by_validation(
            error,
            doc=doc,
            places=places,
            names_at=partial(names_at, top=DeviceSettings),
            default_at=partial(default_at, top=DeviceSettings),
        )
        return DeviceReading(None, in_order(problems))
    return DeviceReading(settings, [])  # a folder may be missing, and its disk may not answer


def device_text(hub: tuple[str, ...], roots: tuple[Path, ...], name: str) -> str:
    """Return the text of a new device.toml, with all settings and what they mean."""
    given: Mapping[str, Any] = {"hub": list(hub), "roots": list(map(str, roots)), "name": name}
    doc = tomlkit.document()
    title = "Settings of this machine as a device of a hub; a change takes effect at once."
    doc.add(tomlkit.comment(title))
    for key, field in DeviceSettings.model_fields.items():
        doc.add(tomlkit.nl())
        if key == "sinks":
            doc.add(tomlkit.comment(f"{field.description} As in:"))
            for line in ("[[sinks]]", 'name = "todo"', 'kind = "markdown"', 'path = "~/notes/todo.md"'):
                doc.add(tomlkit.comment(line))
            continue
        if isinstance(field.default, Table):
            table = tomlkit.table()
            for name, inner in type(field.default).model_fields.items():
                shown = json.dumps(inner.default)
                table.add(tomlkit.comment(f"{name} = {shown}  # {inner.description}"))
            doc.add(key, table)
            continue
        doc.add(tomlkit.comment(field.description or ""))
        if key in given:
            doc.add(key, given[key])
        else:
            doc.add(tomlkit.comment(f"{key} = {json.dumps(field.default)}"))
    return f"#:schema ./device.schema.json\n{tomlkit.dumps(doc)}"


def device_schema() -> dict[str, Any]:
    """Return the JSON Schema of device.toml."""
    schema = DeviceSettings.model_json_schema(schema_generator=Generator)
    return {"$schema": DIALECT, **schema, "title": "device.toml"}
