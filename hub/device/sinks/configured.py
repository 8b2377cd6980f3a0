"""Sinks as the settings of a device describe them."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hub.base.toml.problems import SettingsInvalid, SettingsProblem
from hub.device.settings import AnySink, CalDavSink, DeviceSettings, FileSink, PackageSink
from hub.device.sinks.running import FORMATS
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Target, target_of_package
from hub.device.sinks.text_file import TextFile


def sinks_of(config: Path, db: Path, settings: DeviceSettings) -> tuple[Sink, ...]:
    """Return the sinks of device.toml. Raises SettingsInvalid: a file is among the device's own data."""
    own = os.path.realpath(db.parent)
    for sink in settings.sinks:
        if isinstance(sink, FileSink) and Path(os.path.realpath(sink.path)).is_relative_to(own):
            what = "is in the folder of the device's own data"
            raise SettingsInvalid([SettingsProblem(str(config), 1, 1, f"sinks.{sink.name}.path", what)])
    return tuple(map(sink_of, settings.sinks))


def sink_of(sink: AnySink, password: Callable[[], str] | None = None) -> Sink:
    """Return a sink; *password* takes the place of that in its file or variable."""
    return Sink(sink.name, _target_of(sink, password), sink.tables, sink.back, sink.kind)


def _target_of(sink: AnySink, password: Callable[[], str] | None) -> Target:
    if isinstance(sink, FileSink):
        return TextFile(sink.path, FORMATS[sink.kind]())
    if isinstance(sink, PackageSink):
        return target_of_package(sink.provider, sink.options)
    from hub.device.sinks.web import Web, basic_authorization, secret_in

    secret = password or partial(secret_in, sink.password_file, sink.password_env)
    if isinstance(sink, CalDavSink):
        from hub.device.sinks.caldav import CalDavTarget

        web = Web(sink.url, lambda: basic_authorization(sink.user, secret()), is_public=sink.public)
        return CalDavTarget(web, sink.url)
    from hub.device.sinks.rest import Rest

    manifest, problems = sink.read()
    if manifest is None:  # it was changed since the settings were checked
        raise SettingsInvalid(problems)
    return Rest(Web(manifest.url, lambda: manifest.authorization.replace("{token}", secret())), manifest)
