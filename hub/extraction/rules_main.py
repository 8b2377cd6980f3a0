"""Entry point of the confined process that reads documents by rules.

Arguments are the id of the parent process, and what its documents need, see ``RulesRequest.needs``. Requests
come on standard input and answers go to standard output, each with its length. All modules, weights and time
zones that are needed are loaded before the confinement.
"""

import gc
import os
import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until it is ready: collections take a tenth of the start
# As in ``hub.text.worker_main``: behind the standard library, before installed packages.
sys.path.insert(3, str(Path(__file__).parents[2]))

import zoneinfo
from collections.abc import Set
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from hub.document import Document
from hub.extraction import day_rows, judge, prompt_injection, structured
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import MEMORY_BYTES, Request, frame_of
from hub.extraction.when.resolve import ZONES
from hub.extraction.wording.languages import languages
from hub.extraction.wording.recognition import unread_languages
from hub.text import confinement
from hub.text.files import CALENDAR
from protocol.tables import TABLES

_WRITTEN = datetime(2026, 5, 6, tzinfo=UTC)
_SECONDS = 86_400  # the parent limits each request
_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Own\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\n"
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\n"
    "END:VTIMEZONE\r\n"
)
_EVENT = (
    "BEGIN:VEVENT\r\nSUMMARY;ENCODING=QUOTED-PRINTABLE:a\r\nDTSTART;TZID={}:20260506T090000\r\nATTENDEE;CN=A:mailto:a@b\r\n"
    "CATEGORIES:a\r\nRRULE:FREQ=DAILY;COUNT=3\r\nDURATION:PT1H\r\nEND:VEVENT\r\n"
)
_CALENDAR = (
    f"BEGIN:VCALENDAR\r\n{_ZONE}{''.join(map(_EVENT.format, ('Own', 'Europe/Rome', 'none')))}END:VCALENDAR"
)


def main() -> None:
    """Answer requests until the input ends."""
    confinement.close_descriptors()
    confinement.die_with(int(sys.argv[1]))
    has_no_network = confinement.leave_others()
    zones = _warm({*sys.argv[2:]})
    confinement.limit(memory_bytes=MEMORY_BYTES, seconds=_SECONDS, output_bytes=0)
    is_locked = confinement.lock()
    if sys.platform == "linux" and not (has_no_network or is_locked):
        raise confinement.Unconfined("its network cannot be closed")
    decoder = msgspec.msgpack.Decoder(Request)
    assert zones
    assert day_rows  # the module, of which no part can be loaded any more
    gc.freeze()
    gc.enable()
    with open(0, "rb", closefd=False) as asked, open(1, "wb", closefd=False) as answers:
        while len(length := asked.read(8)) == 8:
            answers.write(frame_of(decoder.decode(asked.read(*struct.unpack("=Q", length))).answer()))
            answers.flush()


def _warm(needs: Set[str]) -> list[zoneinfo.ZoneInfo]:
    """Load what a request would load later, when no file can be opened any more; return the time zones.

    Patterns need no file: each is compiled with the first text that needs it.
    """
    languages()
    unread_languages()
    judge.weights()
    prompt_injection.weight("")
    names = {*ZONES.values(), *needs} - {CALENDAR}
    if CALENDAR in needs:
        from hub.text.decoding import load_codecs  # imported here: most processes need it not

        load_codecs()
        calendar = Document(unit_key="a.ics", text=_CALENDAR, content_hash="", modified_at=_WRITTEN)
        structured.read(calendar, ExtractionOptions(data_types=tuple(TABLES)))
        names |= zoneinfo.available_timezones()
    zones = []
    for name in sorted(names):
        with suppress(LookupError, ValueError, OSError):  # an error of the documents whose zone it is
            zones.append(zoneinfo.ZoneInfo(name))
    # An unknown zone is looked for in this package, and one that may not be opened would be an error.
    sys.modules["tzdata"] = sys.modules["tzdata.zoneinfo"] = None  # type: ignore[assignment]
    return zones


if __name__ == "__main__":
    main()
    os._exit(0)
