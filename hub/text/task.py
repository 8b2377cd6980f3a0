"""What ``worker`` and its process say to each other: a task as an argument, an answer in MessagePack."""

from typing import Any, Final

import msgspec

from hub.text.letter import Body, Enclosure, Letter, LetterOptions

ANSWER_ROOM: Final = 64 * 1024  # bytes of an answer beside the text
LETTER: Final = "application/vnd.hub.letter"  # the file is a ``Letter`` in MessagePack
DONE: Final = 0  # exit code: the answer is a Converted, or a LetterText
REFUSED: Final = 3  # the answer is a Refusal; any other code says that the process broke


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Read the file on standard input.

    Attributes:
        parent: the process to end with.
        bytes: of its text in UTF-8, at most.
        with_attachments: of a mail, read those too; else they are only named.
        letter: it is a mail of a mailbox, and this is what is wanted of it.
    """

    kind: str
    parent: int
    bytes: int
    memory_bytes: int
    seconds: float
    with_attachments: bool = True
    letter: LetterOptions | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no text, in words for the file's owner."""

    why: str
    is_out_of_memory: bool = False


def packed(letter: Letter) -> bytes:
    """A letter as the file of a task. It has no lone surrogates."""
    return msgspec.msgpack.encode(letter)


def unpacked(data: bytes) -> Letter:
    """It, taken back. By hand: a field that is text or bytes is more than msgspec decodes by its type."""
    return _letter(msgspec.msgpack.decode(data))


def _letter(told: dict[str, Any]) -> Letter:
    return Letter(
        headers=[(name, value) for name, value in told["headers"]],
        bodies=tuple(Body(**body) for body in told["bodies"]),
        enclosures=tuple(
            Enclosure(**{**inner, "letter": _letter(inner["letter"]) if inner["letter"] else None})
            for inner in told["enclosures"]
        ),
        are_alternatives=told["are_alternatives"],
        notes=tuple(told["notes"]),
    )
