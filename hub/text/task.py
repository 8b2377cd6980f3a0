"""Messages between ``worker`` and its process: a task as an argument, an answer in MessagePack."""

from typing import Any, Final

import msgspec

from hub.text.letter import Body, Enclosure, Letter, LetterOptions

ANSWER_ROOM: Final = 64 * 1024  # bytes of an answer in addition to the text
LETTER: Final = "application/vnd.hub.letter"  # the file is a ``Letter`` in MessagePack
DONE: Final = 0  # exit code: the answer is a Converted, or a LetterText
REFUSED: Final = 3  # exit code: the answer is a Refusal; with any other code, the process failed


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Task to convert the file on standard input.

    Attributes:
        parent: process id of the parent, with which the worker ends.
        bytes: maximum size of its text in UTF-8.
        with_attachments: convert the attachments of a mail too; otherwise they are only named.
        letter: options for a mail of a mailbox; None for other files.
    """

    kind: str
    parent: int
    bytes: int
    memory_bytes: int
    seconds: float
    with_attachments: bool = True
    letter: LetterOptions | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
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
        bodies=tuple(Body(**body) for body in fields["bodies"]),
        enclosures=tuple(
            Enclosure(**{**inner, "letter": _letter(inner["letter"]) if inner["letter"] else None})
            for inner in fields["enclosures"]
        ),
        are_alternatives=fields["are_alternatives"],
        notes=tuple(fields["notes"]),
    )
