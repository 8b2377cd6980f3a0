"""Folders that devices share, as their hellos name them, compared with the paths that agents are to read."""

from collections.abc import Sequence
from posixpath import normpath
from typing import Final

from protocol.ids import DeviceId

REMEMBERED: Final = 10_000  # devices


class SharedRoots:
    """The folders that each device named when it connected last, since this start of the hub."""

    def __init__(self) -> None:
        self._of: dict[DeviceId, tuple[str, ...]] = {}

    def record(self, device_id: DeviceId, roots: Sequence[str]) -> None:
        """Keep what the hello of a device says."""
        self._of.pop(device_id, None)
        self._of[device_id] = tuple(map(normpath, roots))  # at the end: the others are older
        if len(self._of) > REMEMBERED:
            del self._of[next(iter(self._of))]

    def of(self, device_id: DeviceId) -> tuple[str, ...]:
        """Return the folders that a device shares; none where it does not say."""
        return self._of.get(device_id, ())

    def outside(self, device_id: DeviceId, paths: Sequence[str]) -> list[str]:
        """Return those of an agent's *paths* that certainly lie outside of what its device shares."""
        roots = self.of(device_id)
        return [path for path in paths if roots and _is_outside(path, roots)]


def _is_outside(path: str, roots: Sequence[str]) -> bool:
    """Whether *path* and every root are apart. A relative path begins at a root, so it is not."""
    told = all(root.startswith(("~", "/")) for root in roots)  # else of a system with other paths
    if not told or not path.startswith(("~", "/")) or ".." in path.split("/"):
        return False
    path = normpath(path)
    alike = [root for root in roots if root[:1] == path[:1]]
    if any(_touch(path, root) for root in alike):
        return False
    # A path below "/" may be one below the home, which only the device knows.
    return path.startswith("~") or len(alike) == len(roots)


def _touch(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root.rstrip('/')}/") or f"{root}/".startswith(f"{path.rstrip('/')}/")
