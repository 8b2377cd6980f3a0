"""Settings file of a device (device.toml): its tables, defaults and checks."""

import json
import os
import re
from collections.abc import Mapping
from datetime import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar

import tomlkit
from pydantic import AfterValidator, BaseModel, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from hub.base.outbound.rules import is_this_machine
from hub.base.toml.origins import TomlPositions
from hub.base.toml.parsing import parsed
from hub.base.toml.positions import Located
from hub.base.toml.problems import (
    SettingsInvalid,
    SettingsProblem,
    found_by_validation,
    in_order,
    unreadable,
)
from hub.base.toml.schema import DIALECT, Generator, default_at, names_at
from hub.base.toml.values import (
    REQUIRED,
    Flag,
    Name,
    SettingsPath,
    SettingsTable,
    Whole,
    live,
    refusal,
    url_parts,
)
from hub.device.exclusion import is_pattern
from hub.device.sinks.task_list_manifest import SHIPPED, SinkManifest

_T = TypeVar("_T", bound=BaseModel)
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


class WhenSettings(SettingsTable):
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


class NotifySettings(SettingsTable):
    """Notification on the desktop of the items that wait."""

    daily: Annotated[str, AfterValidator(_time)] = live(
        "09:00", 'Once a day from this time on, if items wait; "": never.'
    )
    titles: Flag = live(False, "With the titles of the newest items, which others may see on the screen.")

    @property
    def at(self) -> time | None:
        """Time of day; None: no notification."""
        return time.fromisoformat(self.daily) if self.daily else None


def _of_days(path: Path, info: ValidationInfo) -> Path:
    if "{date}" in str(path) and info.data.get("kind") != "markdown":
        raise refusal(
            "path", "a file for each day is Markdown", hint='kind = "markdown", or leave {date} out'
        )
    return path


def _differently_named(sinks: tuple["AnySink", ...]) -> tuple["AnySink", ...]:
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise refusal("name", f"two sinks are called {name}")
    places = [os.path.realpath(sink.path) for sink in sinks if isinstance(sink, FileSink)]
    for place in places:
        if places.count(place) > 1:
            hint = "one sink can have several tables"
            raise refusal("path", f"two sinks write to {place}", hint=hint)
    return sinks


def _server(url: str) -> str:
    parts = url_parts(url, "https", "http")
    if parts is None or parts.query or parts.fragment:
        hint = "as in https://HOST/ana/todo/, without a user, ? or #"
        raise refusal("url", "an address of a server is expected", hint=hint)
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        raise refusal("url", "others could read the password on its way", hint="write https://")
    return url


def _manifest_file(path: Path) -> Path:
    found = next((file for file in (path, SHIPPED / path.name) if file.is_file()), None)
    if found is None:
        raise refusal("manifest", "there is no such file", hint="write a path, or todoist.toml")
    return found


OF_CALENDARS: Final = ("tasks", "timelines")


class SinkSettings(SettingsTable):
    """Place where approved rows go."""

    name: Name = live(REQUIRED, "Name of the place.")
    tables: Annotated[tuple[str, ...], Field(min_length=1)] = live(
        ("tasks",), "Tables whose approved rows go there; by default those of a calendar are more."
    )
    back: Flag = live(True, "What is ticked, renamed or dated there is changed here, too.")

    @property
    def place(self) -> str:
        """Place in words."""
        raise NotImplementedError


class FileSink(SinkSettings):
    """File with approved rows."""

    kind: Literal["markdown", "todo.txt", "ics", "csv", "jsonl"] = live(REQUIRED, "Form of the file.")
    path: Annotated[SettingsPath, AfterValidator(_of_days)] = live(
        REQUIRED, "The file; in one of Markdown, {date} becomes the day of the approval."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_tables_of_calendars(cls, written: Any) -> Any:
        is_calendar = isinstance(written, Mapping) and written.get("kind") == "ics"
        return {"tables": list(OF_CALENDARS), **written} if is_calendar else written

    @model_validator(mode="after")
    def _has_tables_of_its_kind(self) -> Self:
        if self.kind == "csv" and len(self.tables) != 1:
            hint = "write the others to files of their own"
            raise refusal("tables", "a CSV file has one table", key="tables", hint=hint)
        if self.kind == "todo.txt" and self.tables != ("tasks",):
            hint = "leave tables out"
            raise refusal("tables", "todo.txt has tasks and nothing else", key="tables", hint=hint)
        return self

    @property
    def place(self) -> str:
        return str(self.path)


class AtServer(SinkSettings):
    """Place at a server, with a password or a token."""

    password_file: SettingsPath | None = live(
        None, "File with the password or token, which only its owner can read (chmod 600)."
    )
    password_env: str | None = live(None, "Variable of the environment with the password or token.")

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise refusal("password", "one of password_file and password_env is expected")
        return self


class CalDavSink(AtServer):
    """Calendar or task list at a CalDAV server."""

    tables: Annotated[tuple[str, ...], Field(min_length=1)] = live(
        OF_CALENDARS, "Tables whose approved rows go there."
    )
    kind: Literal["caldav"] = live(REQUIRED, "A calendar at a server.")
    url: Annotated[str, AfterValidator(_server)] = live(REQUIRED, "Address of the calendar itself.")
    user: Annotated[str, Field(pattern=r"^[^:\r\n]+$(?!\n)")] = live(REQUIRED, "Name of the user there.")
    public: Flag = live(False, "It is called at public addresses alone, as one that a hub named.")

    @property
    def place(self) -> str:
        return self.url


class RestSink(AtServer):
    """Task list at a server, as a manifest describes it."""

    kind: Literal["rest"] = live(REQUIRED, "A task list at a server with an interface of JSON.")
    manifest: Annotated[SettingsPath, AfterValidator(_manifest_file)] = live(
        REQUIRED, "Description of the interface; todoist.toml is included."
    )

    def read(self) -> tuple[SinkManifest | None, list[SettingsProblem]]:
        """Return the manifest if it is usable, and its problems."""
        found, problems, places = _checked(self.manifest, SinkManifest)
        if found is not None and places is not None:
            try:
                _server(found.url)
            except PydanticCustomError as error:
                hint = str((error.context or {}).get("hint", ""))
                return None, [SettingsProblem(*places.value(("url",)), "url", error.message(), hint)]
        return found, problems

    @property
    def place(self) -> str:
        return str(self.manifest)


class PackageSink(SinkSettings):
    """Place that a Python package of others writes to."""

    kind: Literal["package"] = live(REQUIRED, "A place that an installed package knows.")
    provider: Name = live(REQUIRED, "Name by which the package registers it: an entry point of hub.sinks.")
    options: dict[str, Any] = live({}, "What the package asks for.")

    @property
    def place(self) -> str:
        return self.provider


AnySink = Annotated[FileSink | CalDavSink | RestSink | PackageSink, Field(discriminator="kind")]


class DeviceSettings(SettingsTable):
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
        (), "Folders whose notes and todo.txt are changed: a task is ticked there once it is done."
    )
    when: WhenSettings = WhenSettings()
    notify: NotifySettings = NotifySettings()
    sinks: Annotated[tuple[AnySink, ...], AfterValidator(_differently_named)] = live(
        (), "Places that approved rows go to; see hub places."
    )


class DeviceReading(NamedTuple):
    """Result of reading a file: *settings* if they are usable, and all problems in order."""

    settings: DeviceSettings | None
    problems: list[SettingsProblem]

    def usable(self) -> DeviceSettings:
        """Return the settings.

        Raises:
            SettingsInvalid: the settings are unusable; it has all problems.
        """
        if self.settings is None:
            raise SettingsInvalid(self.problems)
        return self.settings


def check_device_file(path: Path, content: bytes | None = None) -> DeviceReading:
    """Read device.toml, or its *content*, with the manifests it names, and report all of their problems."""
    settings, problems, places = _checked(path, DeviceSettings, "'hub device install' writes one", content)
    if settings is None or places is None:
        return DeviceReading(None, problems)
    own = [
        SettingsProblem(
            *places.value(("sinks", number, "path")), f"sinks.{one.name}.path", "this is the settings file"
        )
        for number, one in enumerate(settings.sinks)
        if isinstance(one, FileSink) and os.path.realpath(one.path) == os.path.realpath(path)
    ]
    wrong = own + [
        problem for sink in settings.sinks if isinstance(sink, RestSink) for problem in sink.read()[1]
    ]
    return DeviceReading(None if wrong else settings, wrong)  # a folder may be missing for a while


def _checked(
    path: Path, top: type[_T], remedy: str = "", content: bytes | None = None
) -> tuple[_T | None, list[SettingsProblem], TomlPositions | None]:
    """Read a file of settings; return them if they are usable, all problems, and where the values are."""
    file = str(path)
    try:
        text = (path.read_bytes() if content is None else content).decode()
    except (OSError, UnicodeDecodeError) as error:
        return None, [unreadable(file, error, remedy)], None
    doc = parsed(text, file)
    if isinstance(doc, SettingsProblem):
        return None, [doc], None
    places = TomlPositions(file, Located(text), doc, [])
    try:
        return top.model_validate(doc, context={"base": path.absolute().parent}), [], places
    except ValidationError as error:
        problems = found_by_validation(
            error,
            doc=doc,
            places=places,
            names_at=partial(names_at, top=top),
            default_at=partial(default_at, top=top),
        )
        return None, in_order(problems), places


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
        if isinstance(field.default, SettingsTable):
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
