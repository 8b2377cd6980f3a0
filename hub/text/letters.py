"""Entry point for mails of a mailbox. Large or suspicious mails are read in another process.

Both functions block, briefly or, if ``worker`` is needed, up to the limits: call them in a thread. ``mail``
describes the format of the text.
"""

from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import Final

from hub.text.convert import convert
from hub.text.files import HTML, MAIL, OFFICE, Converted, ConvertLimits, NotConvertible
from hub.text.letter import MOST_BYTES, Body, Letter, LetterOptions, LetterText
from hub.text.letter_text import is_tame, letter_of_mail, shown_headers, text_of_letter
from hub.text.mail import Attached
from hub.text.reading import Attachments
from hub.text.task import LETTER, packed
from hub.text.worker import Check, read_letter_apart

_SMALL_BYTES: Final = 32 * 1024  # limit for any mail that is read in this process
_TAME_BYTES: Final = 1024 * 1024  # limit for a mail without signs of an attack
_PAGE_BYTES: Final = 256 * 1024  # limit for the HTML pages that are read in this process


def read_mail(
    data: bytes,
    options: LetterOptions | None = None,
    *,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> LetterText:
    """Convert a raw mail (RFC 5322) to text. Blocks.

    Args:
        check: called regularly while another process reads; an exception it raises ends the work and is
            passed on.

    Raises:
        NotConvertible: not a mail, larger than 25 MiB, or a limit was reached; ``str()`` says which.
    """
    options, limits = options or LetterOptions(), limits or ConvertLimits()
    if len(data) > MOST_BYTES:
        raise NotConvertible(f"a mail of more than {MOST_BYTES >> 20} MiB")
    if len(data) <= _SMALL_BYTES or (len(data) <= _TAME_BYTES and is_tame(data)):
        letter = letter_of_mail(data, options)
        return text_of_letter(letter, options, attached=_attached(limits, check))
    return _apart(data, MAIL, options, limits, check)


def read_letter(
    letter: Letter,
    options: LetterOptions | None = None,
    *,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> LetterText:
    """Convert a mail in parts to text. Blocks.

    Raises:
        NotConvertible: the mail is empty, its bodies are larger than 25 MiB, or a limit was reached.
    """
    options, limits = options or LetterOptions(), limits or ConvertLimits()
    bodies = list(_bodies(letter))
    if sum(len(body.data) for body in bodies) > MOST_BYTES:
        raise NotConvertible(f"a mail of more than {MOST_BYTES >> 20} MiB")
    if sum(len(body.data) for body in bodies if body.media_type == HTML) <= _PAGE_BYTES:
        return text_of_letter(letter, options, attached=_attached(limits, check))
    return _apart(packed(_portable(letter)), LETTER, options, limits, check)


def _apart(data: bytes, kind: str, options: LetterOptions, limits: ConvertLimits, check: Check) -> LetterText:
    with TemporaryFile() as file:
        file.write(data)
        return read_letter_apart(file, kind, options, limits, check)


def _attached(limits: ConvertLimits, check: Check) -> Attached:
    attachments = Attachments(limits.bytes)

    def attached(content: bytes, kind: str) -> Converted:
        if kind in OFFICE or len(content) > _SMALL_BYTES:
            return attachments.take(convert(content, path="", media_type=kind, limits=limits, check=check))
        return attachments.read(content, kind)

    return attached


def _bodies(letter: Letter) -> Iterator[Body]:
    todo = [letter]
    while todo:
        letter = todo.pop()
        yield from letter.bodies
        todo += [inner.letter for inner in letter.enclosures if inner.letter is not None]


def _portable(letter: Letter) -> Letter:
    """Return the letter without lone surrogates, which cannot be sent to another process."""
    return replace(
        letter,
        headers=shown_headers(letter),
        bodies=tuple(
            replace(body, data=body.data.encode("utf-8", "replace"), charset="utf-8")
            if isinstance(body.data, str)
            else body
            for body in letter.bodies
        ),
        enclosures=tuple(
            replace(
                inner,
                name=inner.name.encode("utf-8", "replace").decode(),
                letter=inner.letter and _portable(inner.letter),
            )
            for inner in letter.enclosures
        ),
    )
