"""Entry point of the confined process that converts one file.

The file is on standard input, the answer goes to standard output; both are anonymous files. All modules are
imported before the confinement.
"""

import os
import sys
from pathlib import Path

# The flag -I removes this project from the path. Behind the three places of the standard library, and before
# installed packages, so that the parent's code runs here, too.
sys.path.insert(3, str(Path(__file__).parents[2]))

import msgspec

from hub.text import confinement, office, pictures
from hub.text.convert import Attachments, read
from hub.text.decoding import decode, load_codecs
from hub.text.files import HTML, MAIL, MBOX, OFFICE, Converted, NotConvertible
from hub.text.html import text_of_html
from hub.text.letter_text import Letter, text_of_letter
from hub.text.worker import ANSWER_ROOM, DONE, LETTER, REFUSED, ConversionRefusal, Task, packed, unpacked


def main() -> None:
    """Convert the file on standard input and write the answer; see ``Task``."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    confinement.close_descriptors()
    confinement.die_with(task.parent)
    try:
        has_no_network = confinement.leave_others()
        _warm(task.kind)
        confinement.limit(
            memory_bytes=task.memory_bytes, seconds=task.seconds, output_bytes=task.bytes + ANSWER_ROOM
        )
        is_locked = confinement.lock()
        if sys.platform == "linux" and not (has_no_network or is_locked):
            raise confinement.Unconfined("its network cannot be closed")
        answer: Converted | ConversionRefusal = _read(task)
    except NotConvertible as error:
        answer = ConversionRefusal(why=str(error))
    except confinement.Unconfined as error:
        answer = ConversionRefusal(why=f"this machine cannot read such files safely: {error}")
    except MemoryError:
        answer = ConversionRefusal(why="", is_out_of_memory=True)
    except RecursionError:
        answer = ConversionRefusal(why="nested too deeply")
    _answer(answer)


def _read(task: Task) -> Converted:
    with open(0, "rb", closefd=False) as file:
        data = file.read()
    attached = None if task.with_attachments else _left_out
    if task.letter is not None:
        attached = attached or Attachments(task.bytes).read
        return text_of_letter(unpacked(data), task.letter, attached=attached)
    return read(data, task.kind, max_bytes=task.bytes, attached=attached)


def _left_out(data: bytes, kind: str) -> Converted:
    raise NotConvertible("damaged, or too much to unpack")


def _warm(kind: str) -> None:
    """Load all that a conversion would load later, when no file can be opened any more."""
    if kind in OFFICE or (kind in (MAIL, MBOX, LETTER) and office.is_installed()):
        office.warm(kind)
    if pictures.reads(kind):
        pictures.warm()
    decode("Счёт".encode("cp1251"))
    if kind in (HTML, MAIL, MBOX, LETTER):
        load_codecs()
        text_of_html("")
    if kind in (MAIL, MBOX, LETTER):
        read(b"Subject: =?utf-8?q?a?=\n\n-- \nOn Monday, Ana wrote:\n", MAIL, max_bytes=1_000)
        unpacked(packed(Letter()))


def _answer(answer: Converted | ConversionRefusal) -> None:
    with open(1, "wb", closefd=False) as out:
        out.write(msgspec.msgpack.encode(answer))
    # Exits at once, so that threads of a compromised library cannot change the exit code.
    os._exit(REFUSED if isinstance(answer, ConversionRefusal) else DONE)


if __name__ == "__main__":
    main()
