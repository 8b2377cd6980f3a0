"""Devices stay with a hub that is restarted, killed and hung under a service manager; none is refused.

``python -m tests.scenarios.units`` (``make soak``) does it with 300 devices. Where systemd runs the
machine and we are root, it is the shipped unit; else ``systemd-socket-activate`` and a stand-in.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.app.systemd import this_installation, unit_files
from hub.base.tokens import hash_token
from protocol.backoff import Backoff
from protocol.ids import DeviceId, TokenId, UserId
from storage.devices import devices, users
from storage.devices.tokens import DEVICE_TOKENS
from storage.store import open_store
from tests.bench.machine import allow_open_files
from tests.scenarios.program import Verdict, run
from tests.support.clock import SeededChance
from tests.support.processes import CROWD, POLL_S, ROOT
from tests.support.service_manager import Unit

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


_ALL_WITHIN_S = 60.0
_AT_MS = 1_767_600_000_000


class Disturbance(msgspec.Struct, frozen=True):
    """What was done to the hub, and how long devices were without it, in seconds."""

    what: str
    longest_gap_s: float
    returned: int


class Stay(msgspec.Struct):
    """How it went for all devices together."""

    connected: int = 0
    refused: int = 0  # nobody listened
    turned_away: int = 0  # somebody did, and said no
    broken: int = 0  # tries that were under way when the hub was killed
    gaps: list[float] = []
    goodbyes: list[dict[str, Any]] = []
    rounds: list[Disturbance] = []


class Device:
    """A socket that says hello and comes back whenever it is lost, as PROTOCOL.md says."""

    def __init__(self, url: str, number: int, stay: Stay) -> None:
        self._url = url
        self._token = _token(number)
        self._stay = stay
        self._chance = SeededChance(number)
        self._lost_at: float | None = None

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            code, retry_after_ms = None, None
            try:
                async with connect(self._url, compression=None, open_timeout=60) as socket:
                    await self._enter(socket)
                    try:
                        retry_after_ms = await self._hear(socket)
                    finally:
                        self._lost_at = perf_counter()
                        self._stay.connected -= 1
                    code = socket.close_code
            except ConnectionRefusedError:
                self._stay.refused += 1
            except InvalidStatus:
                self._stay.turned_away += 1
            except (ConnectionClosed, OSError, EOFError):
                self._stay.broken += 1
            code = None if code == 1006 else code
            draw = self._chance.uniform(0.0, 1.0)
            away_s = 0.0 if self._lost_at is None else perf_counter() - self._lost_at
            wait_s = Backoff().after_close(code, away_s, draw, retry_after_ms)
            assert wait_s is not None, code
            await anyio.sleep(wait_s)

    async def _enter(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "device_hello", "token": self._token}))
        frame: dict[str, Any] = {}
        while frame.get("type") != "welcome":
            frame = json.loads(await socket.recv())
        if self._lost_at is not None:
            self._stay.gaps.append(perf_counter() - self._lost_at)
        self._stay.connected += 1

    async def _hear(self, socket: ClientConnection) -> int | None:
        """Read to the end; what the hub said about coming back."""
        try:
            async for message in socket:
                frame = json.loads(message)
                if frame["type"] == "goodbye":
                    self._stay.goodbyes.append(frame)
                    retry_after_ms: int | None = frame.get("retry_after_ms")
                    return retry_after_ms
        except ConnectionClosed:
            pass
        return None


async def stay(folder: Path, count: int, *, watchdog_s: float = 4.0) -> Stay:
    """Connect so many devices, then restart the hub, kill it and hang it; each time all come back."""
    allow_open_files(count + 200)
    (folder / "hub.toml").write_text(CROWD)
    await _fill(folder, count)
    words = ["--state", str(folder), "serve", "--config", str(folder / "hub.toml")]
    unit: BootedUnit | Unit = (
        BootedUnit(folder, watchdog_s=watchdog_s)
        if is_booted()
        else Unit(folder, words, watchdog_s=watchdog_s)
    )
    went = Stay()

    async def disturb(what: str, do: Callable[[], None]) -> None:
        went.gaps.clear()
        do()
        await _until(lambda: len(went.gaps) == count and went.connected == count, folder)
        went.rounds.append(Disturbance(what, max(went.gaps), len(went.gaps)))

    async with unit.running(), anyio.create_task_group() as crowd:
        for number in range(count):
            crowd.start_soon(Device(unit.url, number, went).live)
        await _until(lambda: went.connected == count, folder)
        await disturb("restart", unit.restart)
        await disturb("kill -9", unit.kill)
        await disturb("hung loop", unit.hang)
        crowd.cancel_scope.cancel()
    return went


async def _until(is_so: Callable[[], bool], folder: Path) -> None:
    with anyio.move_on_after(_ALL_WITHIN_S):
        while not is_so():
            await anyio.sleep(POLL_S)
        return
    log = folder / "hub.log"
    raise AssertionError(f"the devices are not back\n{log.read_text()[-4000:] if log.exists() else ''}")


async def _fill(folder: Path, count: int) -> None:
    """The devices and their tokens."""
    async with open_store("sqlite:///hub.db", base=folder) as store:
        user = await store.write(users.ensure_user, UserId("anna"), "anna", _AT_MS)
        for number in range(count):
            name = f"device-{number:03}"
            device = await store.write(
                devices.ensure_device, id=DeviceId(name), user_id=user, name=name, at=_AT_MS
            )
            await store.write(
                DEVICE_TOKENS.create,
                id=TokenId(f"token-{number}"),
                device_id=device.id,
                token_hash=hash_token(_token(number)),
                at=_AT_MS,
            )


def _token(number: int) -> str:
    return f"hub_dev_{number:043}"


async def play(folder: Path, *, devices: int = 300) -> Verdict:
    """Restart, kill and hang a hub under a service manager while devices are connected."""
    went = await stay(folder, devices)
    told = [f"{devices} devices, {'systemd' if is_booted() else 'a stand-in for systemd'}"]
    told += [
        f"  {one.what:10} {one.returned} came back, longest gap {one.longest_gap_s:.2f} s"
        for one in went.rounds
    ]
    told += [
        f"{sum(one.returned for one in went.rounds)} returns: {went.refused} refused,"
        f" {went.turned_away} turned away, {went.broken} broken tries"
    ]
    return "\n".join(told), not (went.refused or went.turned_away)


if __name__ == "__main__":
    run(play)
