"""Time zones as stretches of constant offset, computed from ``zoneinfo``.

All times are whole minutes since the epoch, UTC. Since 1973, no zone has changed its offset by a fraction of
a minute; before, the seconds of an offset are dropped.
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

_PAGE: Final = 400 * DAY  # computed together: 0.3 ms
_PAGES_KEPT: Final = 4_096  # enough for all zones over a few years
_MINUTE: Final = timedelta(minutes=1)


class Stretch(NamedTuple):
    """A period without a clock change in a zone.

    Attributes:
        starts_at: its first minute.
        ends_at: the first minute after it.
        offset: local time minus UTC, in minutes.
        jump: minutes by which the clocks went forward at *starts_at*; negative if they went back; 0 if a page
            begins without a change.
    """

    starts_at: int
    ends_at: int
    offset: int
    jump: int


def stretch_at(zone: ZoneInfo, minute: int) -> Stretch:
    """Return the stretch that contains *minute*.

    It may be shortened at a page's end, but always shows a change less than a day before *minute*.
    """
    stretches = _page(zone, minute // _PAGE)
    return next(stretch for stretch in stretches if minute < stretch.ends_at)


@cache
def tzdata_digest() -> str:
    """Return a digest of the installed zone files. If it changes, stored instants must be recomputed.

    Reads some 600 small files, once per process.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(zoneinfo.available_timezones()):
        digest.update(key.encode() + b"\0" + _zone_file(key))
    return digest.hexdigest()


@lru_cache(maxsize=_PAGES_KEPT)
def _page(zone: ZoneInfo, number: int) -> tuple[Stretch, ...]:
    """Return the stretches of a page and of the day before it."""
    starts_at, end = number * _PAGE - DAY, (number + 1) * _PAGE
    offset, jump = _offset(zone, starts_at), 0
    stretches = []
    # One probe per day is enough: since 1970, no zone has changed its clocks twice within six days.
    for probe in (*range(starts_at + DAY, end, DAY), end - 1):
        if (new := _offset(zone, probe)) != offset:
            change = _first_minute_of(zone, new, probe - DAY, probe)
            stretches.append(Stretch(starts_at, change, offset, jump))
            starts_at, jump, offset = change, new - offset, new
    return (*stretches, Stretch(starts_at, end, offset, jump))


def _first_minute_of(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    """Return the first minute in (low, high] with the given offset."""
    return low + bisect_left(range(low, high), True, key=lambda minute: _offset(zone, minute) == offset)


def _offset(zone: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, zone).utcoffset() or timedelta(0)
    return offset // _MINUTE


def _zone_file(key: str) -> bytes:
    """Return the zone file that ``ZoneInfo(key)`` reads, of the system or else of package tzdata."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, key)
        if path.is_file():
            return path.read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *key.split("/")).read_bytes()
