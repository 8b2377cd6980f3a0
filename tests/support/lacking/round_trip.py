"""Imports every module of the device and its commands, and works with them once; prints what came of it.

``python round_trip.py FOLDER``, as ``sitecustomize`` next to it leaves the interpreter.
"""

import json
import os
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import hub.cli
import hub.device
from hub.base.clock import IdFactory, SystemClock
from hub.base.system import missing_for_hub
from hub.base.system.files import is_open_to_others
from hub.device.credentials import open_identity
from hub.device.daemon import pause, resume, why_paused
from hub.device.device_file import DeviceFileError, held, is_in_use, open_device_store
from hub.device.items import read_items
from hub.device.owner import approve
from hub.device.shared import Root, SharedFolders, declare
from protocol.tool_calls import Action, ToolCall
from protocol.work import RunConfig

COMMANDS = ("app", "connect", "device", "review", "inbox")


class Chance:
    """Bytes of the system; the house's own source is not what is tried here."""

    def token_bytes(self, count: int) -> bytes:
        """Return *count* bytes."""
        return os.urandom(count)


def offered(folder: Path) -> tuple[list[str], dict[str, str], str]:
    """Return the files that are offered, what is left out, and the text of a file."""
    (root,) = (Root("notes", path, spelling) for path, spelling in declare([folder]))
    shared = SharedFolders([root], home=str(folder.parent))
    files, skipped = shared.list_files(shared.places([])[0], RunConfig(), None, lambda: None)
    with shared.open(files[0]) as descriptor:
        text = os.read(descriptor, 100).decode()
    return [file.path for file in files], {one.path: one.reason for one in skipped}, text


def second(file: Path) -> str:
    """Return why a second device cannot use the file, or an empty text."""
    try:
        with held(file):
            return ""
    except DeviceFileError as error:
        return str(error)


def main(folder: Path) -> dict[str, object]:
    """Return what came of the work, by its name."""
    for module in pkgutil.walk_packages(hub.device.__path__, "hub.device."):
        import_module(module.name)
    for name in COMMANDS:
        import_module(f"hub.cli.{name}")
    import_module("hub.device.settings")
    file, notes, clock = folder / "desk.db", folder / "notes", SystemClock()
    insert = ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "call Ana"})
    ids = IdFactory(clock, Chance())  # type: ignore[arg-type]
    with open_device_store(file, clock=clock, ids=ids) as store:
        store.apply([insert])
        in_use, other = is_in_use(file), second(file)
    key = folder / "desk.key"
    identity = open_identity(key, Chance())  # type: ignore[arg-type]
    pause(file, None)
    return {
        "offered": offered(notes),
        "lock": [in_use, other.replace(str(os.getpid()), "PID").replace(str(file), "FILE"), is_in_use(file)],
        "approved": [len(approve(file, ("1",), at_ms=1).done), [one.verdict for one in read_items(file)]],
        "key": [is_open_to_others(key), open_identity(key, Chance()).id == identity.id],  # type: ignore[arg-type]
        "pause": [why_paused(file, clock), resume(file)],
        "missing": missing_for_hub(),
        "refused": [refused("serve"), refused("demo")] if missing_for_hub() else [],
    }


def refused(*words: str) -> str:
    """Return the first line of the error of a command."""
    from hub.cli.app import hub as command
    from hub.cli.errors import CommandError

    try:
        command(words, standalone_mode=False)
    except CommandError as error:
        return error.format_message().partition("\n")[0]
    return ""


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
