"""Bar 11: files that were built to break whoever reads them, and what they cost the hub and the device.

Twice: a device that makes text of them itself, and one that sends them to the hub as
they are. The memory is that of the process at its peak, counted from after a run over
files that are well, so that what it imports once is not counted.
"""

import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import anyio

from tests.bench.machine import forget_peak_rss, peak_rss_bytes, rss_bytes
from tests.evaluation.figures import Figure, Told, at_most, exactly, only
from tests.scenarios.scene import Scene, scene
from tests.support import odd_files
from tests.support.programs import ending

_MIB: Final = 1024 * 1024
_MAX_MIB: Final = 50.0
_RUN_S: Final = 600.0
_DONE: Final = "DONE"

Make = Callable[[], bytes]

WELL: Final[Mapping[str, Make]] = {
    "box.md": lambda: b"- [ ] Call Ana\n",
    "plan.docx": lambda: odd_files.docx("Call Ana.", "Pay rent."),
    "plan.pdf": lambda: odd_files.pdf("Call Ana.", "Pay rent."),
    "page.html": lambda: b"<p>Call Ana</p>",
    "mail.eml": lambda: _mail(b"Pay rent.", "text", "plain", "rent.txt"),
}
LATER: Final[Mapping[str, Make]] = {
    "zz-box.md": lambda: b"- [ ] Pay rent\n",
    "long-10000-pages.pdf": lambda: odd_files.long_pdf(10_000, 8),
    "mail-with-bomb.eml": lambda: _mail(odd_files.pdf_bomb(500 * _MIB), "application", "pdf", "plan.pdf"),
    "mail-with-page.eml": lambda: _mail(b"<p>Call Ana</p>" * 40_000, "text", "html", "page.html"),
    "long-page.html": lambda: b"<p>Nothing to do but <b>read</b>.</p>\n" * 100_000,
}
BUILT_TO_HURT: Final[Mapping[str, Make]] = {
    "bomb-310.docx": lambda: odd_files.docx_bomb(310 * _MIB),
    "bomb-40.docx": lambda: odd_files.docx_bomb(40 * _MIB),
    "parts.docx": lambda: odd_files.docx_of_empty_parts(20_000),
    "laughs.docx": lambda: odd_files.docx_that_names_itself(9),
    "deep.docx": lambda: odd_files.docx_nested(100_000),
    "bomb.pdf": lambda: odd_files.pdf_bomb(500 * _MIB),
    "locked.pdf": odd_files.locked_pdf,
    "circle.pdf": odd_files.circular_pdf,
    "deep.html": lambda: b"<div>" * 200_000,
    "noise.txt": lambda: bytes(range(256)) * 4_000,
    "parts.eml": lambda: b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\na\n" * 50_000,
}


async def measure(told: Told) -> list[Figure]:
    """Both ways."""
    figures: list[Figure] = []
    for name, connected in (("device reads", _reference), ("hub reads", _raw)):
        told(f"{name} ...")
        figures += await _measured(name, connected, told)
    return figures


async def _measured(name: str, connected: "Connected", told: Told) -> list[Figure]:
    damaged = {
        f"damaged-{at}.{kind}": data
        for kind, whole in (("docx", odd_files.docx("x")), ("pdf", odd_files.pdf("x")))
        for at, data in enumerate(odd_files.broken(whole))
    }
    with tempfile.TemporaryDirectory() as folder:
        for path, make in WELL.items():
            _write(folder, path, make())
        async with scene(Path(folder), {}) as play, connected(play) as pids:
            await play.hub.ended(await play.hub.start_run(), within_s=_RUN_S)
            before = {who: rss_bytes(pid) for who, pid in pids.items()}
            for pid in pids.values():
                forget_peak_rss(pid)
            for path, make in (*LATER.items(), *BUILT_TO_HURT.items()):
                _write(folder, path, make())
            for path, data in damaged.items():
                _write(folder, path, data)
            run = await play.hub.ended(await play.hub.start_run(), within_s=_RUN_S)
            grown = {who: (peak_rss_bytes(pids[who]) - rss) / _MIB for who, rss in before.items()}
    states = {Path(unit["path"]).name: unit["state"] for unit in run["units"]}
    errors = {Path(unit["path"]).name: unit["error"] for unit in run["units"]}
    unread = [path for path in LATER if states.get(path) != _DONE]
    taken = [path for path in BUILT_TO_HURT if states.get(path, _DONE) == _DONE]
    for path in unread:
        told(f"NOT READ {path}: {states.get(path)} {errors.get(path)}")
    for path in taken:
        told(f"NOT MARKED {path}: {states.get(path)}")
    return [
        only(f"{name}: how the run ended", f"{run['state']}/{run['outcome']}"),
        *(at_most(f"{name}: memory of the {who} grew by, MiB", grown[who], _MAX_MIB, ".1f") for who in grown),
        exactly(f"{name}: files built to hurt that were not marked, of {len(BUILT_TO_HURT)}", len(taken)),
        exactly(f"{name}: files that are well and were not read, of {len(LATER)}", len(unread)),
        exactly(f"{name}: files nobody heard of again, damaged ones too", _missing(states, damaged)),
    ]


def _missing(states: Mapping[str, str], damaged: Mapping[str, bytes]) -> int:
    return len((LATER.keys() | BUILT_TO_HURT.keys() | damaged.keys()) - states.keys())


Connected = Callable[[Scene], AbstractAsyncContextManager[dict[str, int]]]


@asynccontextmanager
async def _reference(play: Scene) -> AsyncIterator[dict[str, int]]:
    """``hub connect``, which makes text itself; the processes to measure."""
    await play.device.start()
    await play.has_connected()
    yield {"hub": play.hub.pid, "device": play.device.pid}


@asynccontextmanager
async def _raw(play: Scene) -> AsyncIterator[dict[str, int]]:
    """A device that sends bytes; the process to measure."""
    url = f"{await play.hub.device_url()}/v1/device"
    words = (url, await play.hub.token(), str(play.folder / "notes"), str(play.folder / "raw.db"))
    command = [sys.executable, "-m", "tests.evaluation.raw_device", *words]
    async with await anyio.open_process(command, stdin=DEVNULL, stdout=None, stderr=None) as process:
        with ending(process):
            await play.has_connected()
            yield {"hub": play.hub.pid}


def _write(folder: str, name: str, data: bytes) -> None:
    path = Path(folder, "notes", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _mail(data: bytes, kind: str, subtype: str, name: str) -> bytes:
    message = EmailMessage()
    message["Subject"] = "Plan"
    message.set_content("Call Ana.")
    message.add_attachment(data, maintype=kind, subtype=subtype, filename=name)
    return bytes(message)
