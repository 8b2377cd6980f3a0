"""``hub device install`` under a real manager of systemd for a user, booted in namespaces of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

import anyio
import pytest

from tests.support.processes import POLL_S, ROOT
from tests.support.programs import end_of

UNIT: Final = "device-hub.service"
PATIENCE_S: Final = 60.0
BACK_S: Final = 20.0  # RestartSec is 5
CGROUPS: Final = [
    folder
    for folder in map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
    if (folder / "cgroup.procs").exists()
]
# systemd runs for a user only where the system was booted with it: a folder in /run says so.
BOOT: Final = (
    "mount -t tmpfs none /run && mkdir -p /run/systemd/system"
    " && { systemd --user --log-target=console & wait; }"
)
pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0 or not CGROUPS, reason="only root may make namespaces and cgroups"),
    pytest.mark.skipif(not all(map(shutil.which, ("systemd", "unshare", "nsenter"))), reason="no systemd"),
]


class Manager:
    """A manager for a user whose home is a folder; ``log_in`` boots it, ``log_out`` ends its session."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._cgroups = [folder / f"hub-test-{os.getpid()}" for folder in CGROUPS]
        self._environ = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        self._session: subprocess.Popen[bytes] | None = None

    def log_in(self) -> None:
        (self.home / "run").mkdir(mode=0o700, exist_ok=True)
        for folder in self._cgroups:
            folder.mkdir(exist_ok=True)
        enter = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in self._cgroups)
        unshare = "exec unshare --mount --pid --fork --mount-proc --kill-child"
        with (self.home / "manager.log").open("ab") as log:
            self._session = subprocess.Popen(
                ["sh", "-c", f"{enter}{unshare} sh -c '{BOOT}'"], env=self._environ, stdout=log, stderr=log
            )

    async def is_ready(self) -> None:
        await self.until(lambda: self.systemctl("is-system-running").stdout.strip() == "running")

    def log_out(self) -> None:
        """End the session with all that runs in it."""
        if self._session is not None:
            self._session.kill()
            self._session.wait()
        end = monotonic() + PATIENCE_S
        while any(map(_is_left, self._cgroups)):  # what was killed ends in a moment
            if monotonic() > end:
                raise TimeoutError(self._cgroups)

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._inside("systemctl", "--user", *words)

    def hub(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._inside(sys.executable, "-m", "hub", "device", *words)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.hub("status", "--json").stdout)
        return found

    def pid(self) -> int:
        """Id of the device's process, in the namespace; 0: it does not run."""
        return int(self.systemctl("show", "--property=MainPID", "--value", UNIT).stdout)

    async def until(self, condition: Any, *, within_s: float = PATIENCE_S) -> None:
        end = monotonic() + within_s
        while not condition():
            is_over = self._session is None or self._session.poll() is not None
            if is_over or monotonic() > end:
                raise TimeoutError(end_of(self.home / "manager.log"))
            await anyio.sleep(POLL_S)

    def _inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        assert self._session is not None
        children = Path(f"/proc/{self._session.pid}/task/{self._session.pid}/children")
        inner = children.read_text().split()
        enter = ["nsenter", "--target", inner[0] if inner else "0", "--mount", "--pid"]
        return subprocess.run(
            [*enter, *words], env=self._environ, capture_output=True, text=True, check=False, cwd=ROOT
        )


def _is_left(cgroup: Path) -> bool:
    """Remove a control group with those in it; return True if one of them is still in use."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return cgroup.exists()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as home:  # a short path: it has sockets
        (Path(home) / "notes").mkdir()
        made = Manager(Path(home))
        try:
            yield made
        finally:
            made.log_out()


async def test_installed_device_restarts_after_login_and_kill_but_not_with_bad_settings(
    manager: Manager,
) -> None:
    manager.log_in()
    await manager.is_ready()
    done = manager.hub("install", "ws://127.0.0.1:1", "--root", str(manager.home / "notes"), "--name", "desk")
    assert done.returncode == 0, done.stderr
    await manager.until(lambda: manager.status()["is_running"])
    assert manager.status()["starts_at_login"] is True

    first = manager.pid()
    manager.systemctl("kill", f"--signal={signal.SIGKILL.value}", UNIT)
    await manager.until(lambda: manager.pid() not in (0, first), within_s=BACK_S)

    manager.log_out()
    manager.log_in()
    await manager.is_ready()
    await manager.until(lambda: manager.status()["is_running"], within_s=BACK_S)

    settings = manager.home / "config/hub/device.toml"
    text = settings.read_text()
    settings.write_text("hub = 1\n")
    manager.systemctl("restart", UNIT)
    await manager.until(lambda: manager.systemctl("is-failed", UNIT).stdout.strip() == "failed")
    assert manager.systemctl("show", "--property=ExecMainStatus", "--value", UNIT).stdout.strip() == "78"
    settings.write_text(text)
    assert manager.hub("install").returncode == 0
    await manager.until(lambda: manager.status()["is_running"])

    assert manager.hub("uninstall").returncode == 0
    found = manager.status()
    assert (found["is_running"], found["starts_at_login"], settings.exists()) == (False, False, True)
