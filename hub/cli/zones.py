"""Time zones of the machine and of agents: the one of a new agent, and one that is not its owner's."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

_ZONES: Final = "zoneinfo/"  # folder of the zones' files, in paths of every system


def machine_zone(environment: Mapping[str, str] = os.environ, etc: Path = Path("/etc")) -> tuple[str, str]:
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


_SEASONS: Final = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))


def usual_zone(agents: Iterable[Mapping[str, Any]]) -> str:
    """Return the time zone of most agents, of those that are not in UTC; else that of the machine.

    A machine in UTC is taken for a server, whose owner is elsewhere.
    """
    zones = Counter(agent["timezone"] for agent in agents if not _is_utc(agent["timezone"]))
    return max(zones, key=zones.__getitem__, default=machine_zone()[0])


def _is_utc(zone: str) -> bool:
    return zone.rpartition("/")[2] == "UTC"


def other_zone(agent: Mapping[str, Any], agents: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return that an agent reads times of another zone than its owner's, and what mends that.

    The owner's is that of this machine. On one in UTC, an agent in UTC is compared with most of *agents*.
    """
    here, owner = machine_zone()[0], "this machine is in"
    if _is_utc(here) and _is_utc(agent["timezone"]):
        here = usual_zone(other for other in agents if other["user"] == agent["user"])
        owner = "others read those of"
    zones = here, agent["timezone"]
    here_at, read_at = ([day.astimezone(ZoneInfo(zone)).utcoffset() for day in _SEASONS] for zone in zones)
    if _is_utc(here) or here_at == read_at:
        return None
    name = agent["name"]
    change = f"agents edit {name} --set timezone={here}"
    if agent["source"] == "file":
        change = f"config set 'agents.{name}.timezone=\"{here}\"'"
    problem = f"agent {name} reads times of the zone {agent['timezone']}, and {owner} {here}"
    return problem, f"hub {change}; then: hub run {name}"


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
