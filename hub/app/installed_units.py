"""Unit files of systemd, adapted to the installation folder of this hub."""

import sys
import sysconfig
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

_SHIPPED_PREFIX: Final = "/opt/hub"
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_PLACES: Final = {
    "hub.service": Path("etc/systemd/system/hub.service"),
    "hub.socket": Path("etc/systemd/system/hub.socket"),
    "hub-admin.socket": Path("etc/systemd/system/hub-admin.socket"),
    "hub.sysusers": Path("etc/sysusers.d/hub.conf"),
}


def unit_files(prefix: Path, python: Path) -> Mapping[Path, str]:
    """Return the contents of the unit files by their paths, relative to the root of the file system.

    Args:
        prefix: parent folder of ``bin/hub``.
        python: path of the interpreter without symbolic links; the sandbox must permit its execution.
    """
    shipped = files("hub.app.units")
    executable = [prefix] if python.is_relative_to("/usr") else [prefix, python.parent.parent]
    allowed = " ".join(str(path) for path in dict.fromkeys(executable) if not path.is_relative_to("/usr"))
    contents = {}
    for name, place in _PLACES.items():
        text = shipped.joinpath(name).read_text("utf-8")
        text = text.replace(f"ExecPaths=/usr {_SHIPPED_PREFIX}", f"ExecPaths=/usr {allowed}".rstrip())
        contents[place] = text.replace(_SHIPPED_PREFIX, str(prefix))
    return contents


def is_out_of_reach(prefix: Path, python: Path) -> bool:
    """Return True if the programs are in a home folder, which ``ProtectHome=`` hides from the service."""
    return any(path.is_relative_to(home) for path in (prefix, python) for home in _HOMES)


def here() -> tuple[Path, Path]:
    """Return the prefix and the interpreter of this process."""
    return Path(sysconfig.get_path("scripts")).parent, Path(sys.executable).resolve()
