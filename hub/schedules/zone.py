"""A time zone as stretches of constant offset, found by asking ``zoneinfo``.

All times here are whole minutes since the epoch, UTC. No zone has changed by a part of
a minute since 1973; before that, the seconds of an offset are left out.
"""

import hashlib
import zoneinfo
from bisect import bisect_left
from datetime import datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hub.schedules.calendar import DAY

_PAGE: Final = 400 * DAY  # a zone is asked about this much at once: 0.3 ms
_PAGES_KEPT: Final = 4_096  # every zone there is, for a few years
_MINUTE: Final = timedelta(minutes=1)


class Stretch(NamedTuple):
    """A time in which the clocks of a zone are not changed.

    Attributes:
        starts_at: its first minute.
        ends_at: the first minute after it.
        offset: local time less UTC, in minutes.
        jump: how far the clocks were put forward at *starts_at*, in minutes; negative: back; 0: not at all, a
            page begins there.
    """

    starts_at: int
    ends_at: int
    offset: int
    jump: int


def stretch_at(zone: ZoneInfo, minute: int) -> Stretch:
    """The stretch that *minute* lies in.

    Where a page ends it may be cut short, but a change less than a day before *minute* is never out of sight.
    """
    stretches = _page(zone, minute // _PAGE)
    return next(stretch for stretch in stretches if minute < stretch.ends_at)


@cache
def tzdata_digest() -> str:
    """A digest of the zone files in use: another one means that instants have to be worked out again.

    Reads some 600 small files, once in the life of the process.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(zoneinfo.available_timezones()):
        digest.update(key.encode() + b"\0" + _zone_file(key))
    return digest.hexdigest()


@lru_cache(maxsize=_PAGES_KEPT)
def _page(zone: ZoneInfo, number: int) -> tuple[Stretch, ...]:
    """The stretches of a page and of the day before it."""
    starts_at, end = number * _PAGE - DAY, (number + 1) * _PAGE
    offset, jump = _offset(zone, starts_at), 0
    stretches = []
    # Once a day is enough: no zone has changed its clocks twice within six days since 1970.
    for probe in (*range(starts_at + DAY, end, DAY), end - 1):
        if (new := _offset(zone, probe)) != offset:
            change = _first_minute_of(zone, new, probe - DAY, probe)
            stretches.append(Stretch(starts_at, change, offset, jump))
            starts_at, jump, offset = change, new - offset, new
    return (*stretches, Stretch(starts_at, end, offset, jump))


def _first_minute_of(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    """The minute of (low, high] from which *offset* holds."""
    return low + bisect_left(range(low, high), True, key=lambda minute: _offset(zone, minute) == offset)


def _offset(zone: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, zone).utcoffset() or timedelta(0)
    return offset // _MINUTE


def _zone_file(key: str) -> bytes:
    """The file that ``ZoneInfo(key)`` reads: the system's, else the one of the package tzdata."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, key)
        if path.is_file():
            return path.read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *key.split("/")).read_bytes()
