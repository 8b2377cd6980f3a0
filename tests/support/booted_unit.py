"""The shipped unit under the systemd that runs this machine, beside any real one, for a scenario.

Under names of its own, with a shorter watchdog and a program that can be told to hang;
the sandbox, the sockets and everything else is what ``hub install-unit`` writes.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from hub.app.systemd import this_installation, unit_files
from tests.support.processes import ROOT

NAME: Final = "hub-scenario"
_UNITS: Final = Path("/run/systemd/system")
_STATE, _CONFIG = Path("/var/lib") / NAME, Path("/etc") / NAME
_KEPT: Final = Path("/var/lib/private") / NAME  # where a dynamic user's state really lies


def is_booted() -> bool:
    """Return True if systemd runs this machine (sd_booted(3)) and lets us start units."""
    return _UNITS.is_dir() and os.geteuid() == 0


class BootedUnit:
    """Takes ``hub.toml`` and ``hub.db`` from *folder*."""

    def __init__(self, folder: Path, *, watchdog_s: float) -> None:
        self._folder = folder
        self._watchdog_s = watchdog_s
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Where devices connect, through all restarts."""
        return f"ws://127.0.0.1:{self._port}/v1/device"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The service is up inside; afterwards nothing of it is left."""
        try:
            await anyio.to_thread.run_sync(self._install)
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove)

    def restart(self) -> None:
        """Stop in good order, then start."""
        _systemctl("--no-block", "restart", f"{NAME}.service")

    def kill(self) -> None:
        """``kill -9``; the unit's own ``Restart=`` brings it back."""
        _systemctl("kill", "--signal=KILL", f"{NAME}.service")

    def hang(self) -> None:
        """Its event loop turns no more; the unit's own watchdog ends that."""
        _systemctl("kill", "--kill-who=main", "--signal=USR2", f"{NAME}.service")

    def _install(self) -> None:
        prefix, python = this_installation()
        shipped = {place.name: text for place, text in unit_files(prefix, python).items()}
        _CONFIG.mkdir(exist_ok=True)
        shutil.copy2(self._folder / "hub.toml", _CONFIG / "hub.toml")
        _STATE.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(self._folder / "hub.db", _STATE / "hub.db")
        for kind in ("service", "socket"):
            text = shipped[f"hub.{kind}"].replace("hub.socket hub-admin.socket", f"{NAME}.socket")
            text = text.replace("=hub.socket", f"={NAME}.socket").replace(
                "Directory=hub", f"Directory={NAME}"
            )
            text = text.replace("/var/lib/private/hub", str(_KEPT))
            lines = [line for line in text.splitlines() if not line.startswith("SupplementaryGroups=")]
            (_UNITS / f"{NAME}.{kind}").write_text("\n".join(lines) + "\n")
        hung_hub = f"{prefix}/bin/python {ROOT}/tests/support/hung_hub.py"
        _drop_in("service", f"ExecStart=\nExecStart={hung_hub} serve --config {_CONFIG}/hub.toml")
        _drop_in("service", f"WatchdogSec={self._watchdog_s}s", name="watchdog")
        _drop_in("socket", f"ListenStream=\nListenStream=127.0.0.1:{self._port}")
        _systemctl("daemon-reload")
        _systemctl("start", f"{NAME}.socket")


def _drop_in(kind: str, text: str, *, name: str = "scenario") -> None:
    folder = _UNITS / f"{NAME}.{kind}.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(f"[{kind.title()}]\n{text}\n")


def _remove() -> None:
    subprocess.run(["systemctl", "stop", f"{NAME}.socket", f"{NAME}.service"], check=False)
    for kind in ("service", "socket"):
        (_UNITS / f"{NAME}.{kind}").unlink(missing_ok=True)
        shutil.rmtree(_UNITS / f"{NAME}.{kind}.d", ignore_errors=True)
    for folder in (_CONFIG, _KEPT, _STATE):
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
    _systemctl("daemon-reload")


def _systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, timeout=90)
