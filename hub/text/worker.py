"""Conversion of a file in a separate confined process: time and memory limits, crashes.

Its start takes about a tenth of a second. A decompression bomb, a crash or an endless loop ends only this
process. File and answer are anonymous temporary files, so that neither side waits for the other, and the file
need not be in the caller's memory. The task is an argument in JSON, the answer is in MessagePack.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import msgspec

from hub.text import office, pictures
from hub.text.files import MAIL, MBOX, Converted, ConvertLimits, NotConvertible
from hub.text.letter_text import Enclosure, Letter, LetterBody, LetterOptions

ANSWER_ROOM: Final = 64 * 1024  # bytes of an answer in addition to the text
LETTER: Final = "application/vnd.hub.letter"  # the file is a ``Letter`` in MessagePack
DONE: Final = 0  # exit code: the answer is a Converted
REFUSED: Final = 3  # exit code: the answer is a Refusal; with any other code, the process failed


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Task to convert the file on standard input.

    Attributes:
        parent: process id of the parent, with which the worker ends.
        bytes: maximum size of its text in UTF-8.
        with_attachments: convert the attachments of a mail too; otherwise they are only named.
        letter: options for a ``LETTER``; None for other files.
    """

    kind: str
    parent: int
    bytes: int
    memory_bytes: int
    seconds: float
    with_attachments: bool = True
    letter: LetterOptions | None = None


class ConversionRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Reason for a failed conversion, written for the file's owner."""

    why: str
    is_out_of_memory: bool = False


def packed(letter: Letter) -> bytes:
    """Serialize a letter as the file of a task. The letter must not have lone surrogates."""
    return msgspec.msgpack.encode(letter)


def unpacked(data: bytes) -> Letter:
    """Deserialize a letter. Done by hand: msgspec does not decode a union of text and bytes."""
    return _letter(msgspec.msgpack.decode(data))


def _letter(fields: dict[str, Any]) -> Letter:
    return Letter(
        headers=[(name, value) for name, value in fields["headers"]],
        bodies=tuple(LetterBody(**body) for body in fields["bodies"]),
        enclosures=tuple(
            Enclosure(**{**inner, "letter": _letter(inner["letter"]) if inner["letter"] else None})
            for inner in fields["enclosures"]
        ),
        are_alternatives=fields["are_alternatives"],
        notes=tuple(fields["notes"]),
        others=tuple(fields["others"]),
    )


_MAIN: Final = Path(__file__).with_name("worker_main.py")
# One thread and one heap; otherwise each thread of a library reserves 64 MiB of the limited address space.
_ENVIRONMENT: Final = {
    "MALLOC_ARENA_MAX": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
_POLL_S: Final = 0.1  # interval of checks for a cancellation
# Signals of a process whose memory allocation failed, or whose processor time is used up. Windows lacks some.
_ENDED_BY: Final[dict[int, str]] = {
    getattr(signal, name): reached
    for name, reached in (
        ("SIGABRT", "convert_memory_bytes"),
        ("SIGXCPU", "convert_seconds"),
        ("SIGKILL", "convert_seconds"),
    )
    if hasattr(signal, name)
}

Check = Callable[[], None]


@cache
def _library_folder() -> Path:
    return office.library_folder()


class _WorkerEnded(Exception):
    """Process that ended without an answer. *limit* names the reached limit, if known."""

    def __init__(self, why: str, limit: str | None = None) -> None:
        super().__init__(why)
        self.limit = limit


def read_apart(
    file: IO[bytes], kind: str, limits: ConvertLimits, check: Check, letter: LetterOptions | None = None
) -> Converted:
    """Convert *file* to text in another process.

    Blocks at most as long as the limits permit; twice as long for a mail whose attachments break the process,
    since its bodies are then read without them.

    Args:
        file: an operating system file with a descriptor; read from its beginning.
        check: called every tenth of a second; an exception it raises ends the process and is passed on.
        letter: options for a ``LETTER``.

    Raises:
        NotConvertible: the file was refused, the process failed, or a limit was reached.
    """
    if find_spec("resource") is None:
        raise NotConvertible("this system cannot limit the memory of the process that reads such files")
    limits = pictures.limits_for(kind, limits)
    task = Task(
        kind=kind,
        parent=os.getpid(),
        bytes=limits.bytes,
        memory_bytes=limits.memory_bytes,
        seconds=limits.seconds,
        letter=letter,
    )
    try:
        try:
            return _read(file, task, limits, check)
        except _WorkerEnded:
            if task.kind not in (MAIL, MBOX, LETTER):
                raise
            return _read(file, msgspec.structs.replace(task, with_attachments=False), limits, check)
    except _WorkerEnded as error:
        raise NotConvertible(str(error), limit=error.limit) from None


def _read(file: IO[bytes], task: Task, limits: ConvertLimits, check: Check) -> Converted:
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    with TemporaryFile() as answer:
        try:
            # Opened anew for reading alone: a compromised process could change a temporary file.
            with open(f"/dev/fd/{file.fileno()}", "rb") as source:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-B", str(_MAIN), msgspec.json.encode(task).decode()],
                    stdin=source,
                    stdout=answer,
                    stderr=subprocess.DEVNULL,  # it may quote the file
                    env={**_ENVIRONMENT, "TMPDIR": str(_library_folder())},
                    start_new_session=True,  # signals of this terminal must not reach the process
                )
        except OSError as error:
            raise NotConvertible("the process that reads such files could not be started") from error
        code = _wait(process, limits, check)
        if code in (DONE, REFUSED):
            return _answered(answer, task, limits, is_done=code == DONE)
        raise _broken(code, limits)


def _wait(process: subprocess.Popen[bytes], limits: ConvertLimits, check: Check) -> int:
    """Wait for *process* and return its exit code; the process is always ended and reaped.

    Raises:
        _Broken: the process took too long.
    """
    left = limits.seconds
    try:
        while left > 0:
            try:
                return process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                left -= _POLL_S
            check()
        raise _too_slow(limits)
    finally:
        process.kill()  # has no effect if the process has ended
        process.wait()


def _answered(answer: IO[bytes], task: Task, limits: ConvertLimits, *, is_done: bool) -> Converted:
    size = answer.seek(0, os.SEEK_END)
    answer.seek(0)
    data = answer.read(min(size, limits.bytes + ANSWER_ROOM))  # read() allocates the size in advance
    try:
        if is_done:
            found = msgspec.msgpack.decode(data, type=Converted)
            kind = MAIL if task.kind == LETTER else task.kind
            return replace(found, media_type=kind, dropped=max(0, found.dropped))
        refusal = msgspec.msgpack.decode(data, type=ConversionRefusal)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotConvertible("damaged: its reader gave no answer that could be read") from error
    if refusal.is_out_of_memory:
        raise _broken(-signal.SIGABRT, limits)
    # The words may come from a compromised process.
    raise NotConvertible(refusal.why[:300])


def _broken(code: int, limits: ConvertLimits) -> _WorkerEnded:
    """Return the exception for a process that ended with *code*; a negative code is its signal."""
    reached = _ENDED_BY.get(-code)
    if reached == "convert_seconds":
        return _too_slow(limits)
    return _WorkerEnded(
        f"damaged: its reader broke, or needs more than {limits.memory_bytes >> 20} MiB of memory", reached
    )


def _too_slow(limits: ConvertLimits) -> _WorkerEnded:
    return _WorkerEnded(f"not read within {limits.seconds:g} s", "convert_seconds")
