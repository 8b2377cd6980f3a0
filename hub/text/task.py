"""What ``worker`` and its process say to each other: a task as an argument, an answer in MessagePack."""

from typing import Final

import msgspec

ANSWER_ROOM: Final = 64 * 1024  # bytes of an answer beside the text
DONE: Final = 0  # exit code: the answer is a Converted
REFUSED: Final = 3  # the answer is a Refusal; any other code says that the process broke


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Read the file on standard input.

    Attributes:
        parent: the process to end with.
        bytes: of its text in UTF-8, at most.
        with_attachments: of a mail, read those too; else they are only named.
    """

    kind: str
    parent: int
    bytes: int
    memory_bytes: int
    seconds: float
    with_attachments: bool = True


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no text, in words for the file's owner."""

    why: str
    is_out_of_memory: bool = False
