"""Time zone of this machine."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from zoneinfo import available_timezones

ETC: Final = Path("/etc")
_ZONES: Final = "zoneinfo/"  # folder of the zones' files, in paths of every system


def machine_zone(environment: Mapping[str, str] = os.environ, etc: Path = ETC) -> tuple[str, str]:
    """Return the IANA name of the machine's zone, and the place that names it.

    If no place names one, the zone is UTC, and the reason is returned in place of the place.
    """
    refused: list[str] = []
    for place, value in _places(environment, etc):
        name = value.strip().removeprefix(":").rpartition(_ZONES)[2]
        name = name.removeprefix("posix/").removeprefix("right/")
        if name in available_timezones():
            return name, "; ".join([f"from {place}", *refused])
        refused.append(f"{place} has {value.strip()[:64]!r}, which is no name as in 'Europe/Berlin'")
    return "UTC", "; ".join(refused) or f"neither TZ nor {etc} names a time zone"


def _places(environment: Mapping[str, str], etc: Path) -> Iterator[tuple[str, str]]:
    """Yield the places that name a zone, with their content, as the C library reads them."""
    if environment.get("TZ", "").strip(" :"):
        yield "TZ", environment["TZ"]
    local, named = etc / "localtime", etc / "timezone"
    if local.is_symlink():
        yield str(local), os.path.realpath(local)
    try:
        yield str(named), named.read_text("utf-8", "replace")
    except OSError:
        return  # most systems have the link alone
