"""Power supply and metered network of this machine, as each operating system reports them.

None: the system does not tell; a device is connected then.
"""

import ctypes
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_SUPPLIES: Final = Path("/sys/class/power_supply")
_PATIENCE_S: Final = 10.0
# Addresses of documentation, which nothing has: a datagram socket that is connected to them sends nothing.
_FAR: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_COST: Final = (
    "[void][Windows.Networking.Connectivity.NetworkInformation,Windows,ContentType=WindowsRuntime];"
    "[Windows.Networking.Connectivity.NetworkInformation]::GetInternetConnectionProfile()"
    ".GetConnectionCost().NetworkCostType"
)


def is_on_power(system: str = sys.platform) -> bool | None:
    """Return True if the machine is on mains power; one without a battery is."""
    return _POWER.get(system, _unknown)()


def is_metered(system: str = sys.platform) -> bool | None:
    """Return True if the network charges by volume."""
    return _METERED.get(system, _unknown)()


def own_addresses() -> tuple[str, ...]:
    """Return the addresses from which this machine reaches other networks; none without a network."""
    found = []
    for family, far in _FAR:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            found.append(str(probe.getsockname()[0]))
    return tuple(found)


def _unknown() -> None:
    return None


def _power_of_linux() -> bool | None:
    try:
        supplies = [supply for supply in _SUPPLIES.iterdir() if (supply / "type").is_file()]
        mains = [_read(supply / "online") == "1" for supply in supplies if _read(supply / "type") == "Mains"]
        batteries = [_read(supply / "status") for supply in supplies if _read(supply / "type") == "Battery"]
    except OSError:
        return None
    return any(mains) if mains else "Discharging" not in batteries


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _power_of_macos() -> bool | None:
    shown = output_of(["pmset", "-g", "batt"])
    return None if shown is None else "Battery Power" not in shown.partition("\n")[0]


def _power_of_windows() -> bool | None:
    status = (ctypes.c_ubyte * 12)()  # SYSTEM_POWER_STATUS; its first byte is ACLineStatus
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  # only Windows has it
    return bool(status[0] != 0) if kernel.GetSystemPowerStatus(status) else None


def _metered_of_linux() -> bool | None:
    shown = output_of(["nmcli", "--terse", "--fields", "GENERAL.METERED", "device", "show"])
    return None if shown is None else ":yes" in shown


def _metered_of_windows() -> bool | None:
    shown = output_of(["powershell", "-NoProfile", "-NonInteractive", "-Command", _COST])
    return None if not shown else shown.strip() in ("Fixed", "Variable")


def output_of(words: list[str]) -> str | None:
    """Return what a program of the system prints, or None if it cannot be asked."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


_POWER: Final[Mapping[str, Callable[[], bool | None]]] = {
    "linux": _power_of_linux,
    "darwin": _power_of_macos,
    "win32": _power_of_windows,
}
_METERED: Final[Mapping[str, Callable[[], bool | None]]] = {
    "linux": _metered_of_linux,
    "win32": _metered_of_windows,
}
