"""Mails of a mailbox to text: the door. What is large, or looks as if it were built to hurt, is read apart.

Both functions block, for a moment or, where ``worker`` is needed, for as long as the limits say: call them in
a thread. The form of the text stands in ``mail``.
"""

from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import Final

from hub.text.convert import convert
from hub.text.converted import Converted, ConvertLimits, NotConvertible
from hub.text.kinds import HTML, MAIL, OFFICE
from hub.text.letter import MOST_BYTES, Body, Letter, LetterOptions, LetterText
from hub.text.letter_mail import letter_of_mail, looks_tame
from hub.text.letter_text import shown_headers, text_of_letter
from hub.text.mail import Attached
from hub.text.reading import Attachments
from hub.text.task import LETTER, packed
from hub.text.worker import Check, read_letter_apart

_SMALL_BYTES: Final = 32 * 1024  # of a mail that is read here, whatever is in it
_TAME_BYTES: Final = 1024 * 1024  # of one that shows no sign of malice
_PAGE_BYTES: Final = 256 * 1024  # of the pages that are read here


def read_mail(
    data: bytes,
    options: LetterOptions | None = None,
    *,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> LetterText:
    """The text of a mail as it travels (RFC 5322). Blocks.

    Args:
        check: called now and then while another process reads; what it raises ends that and is raised here.

    Raises:
        NotConvertible: it is no mail, larger than 25 MiB, or a limit was reached; ``str()`` says which.
    """
    options, limits = options or LetterOptions(), limits or ConvertLimits()
    if len(data) > MOST_BYTES:
        raise NotConvertible(f"a mail of more than {MOST_BYTES >> 20} MiB")
    if len(data) <= _SMALL_BYTES or (len(data) <= _TAME_BYTES and looks_tame(data)):
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
    """The text of a mail that came in parts. Blocks.

    Raises:
        NotConvertible: there is nothing in it, its bodies are larger than 25 MiB, or a limit was reached.
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
    """The same without lone surrogates, which cannot travel to another process."""
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
