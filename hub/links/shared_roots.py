"""Shared folders named in the hellos of devices, for comparison with the paths of agents."""

from collections.abc import Sequence
from posixpath import normpath
from typing import Final

from protocol.ids import DeviceId

REMEMBERED: Final = 10_000  # devices


class SharedRoots:
    """Folders that each device named at its last connection, since this start of the hub."""

    def __init__(self) -> None:
        self._of: dict[DeviceId, tuple[str, ...]] = {}

    def record(self, device_id: DeviceId, roots: Sequence[str]) -> None:
        """Store the shared folders from the hello of a device."""
        self._of.pop(device_id, None)
        # reinserted at the end, so the first entry is the oldest
        self._of[device_id] = tuple(map(normpath, roots))
        if len(self._of) > REMEMBERED:
            del self._of[next(iter(self._of))]

    def of(self, device_id: DeviceId) -> tuple[str, ...]:
        """Return the folders that a device shares; empty if unknown."""
        return self._of.get(device_id, ())

    def outside(self, device_id: DeviceId, paths: Sequence[str]) -> list[str]:
        """Return those of an agent's *paths* that are certainly outside the device's shared folders."""
        roots = self.of(device_id)
        return [path for path in paths if roots and _is_outside(path, roots)]


def _is_outside(path: str, roots: Sequence[str]) -> bool:
    """Return True if *path* is outside all roots. A relative path begins at a root, so it is not."""
    # otherwise the device's system has other kinds of paths
    told = all(root.startswith(("~", "/")) for root in roots)
    if not told or not path.startswith(("~", "/")) or ".." in path.split("/"):
        return False
    path = normpath(path)
    alike = [root for root in roots if root[:1] == path[:1]]
    if any(_touch(path, root) for root in alike):
        return False
    # A path below "/" may be below the home folder, whose place only the device knows.
    return path.startswith("~") or len(alike) == len(roots)


def _touch(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root.rstrip('/')}/") or f"{root}/".startswith(f"{path.rstrip('/')}/")
