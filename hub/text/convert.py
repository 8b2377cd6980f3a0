"""Conversion of a file or mail to text: which converter, and whether in a separate process.

Extracted text is what travels and what offsets refer to, so the content of a text file is not normalized.
Plain text and small pages or mails are read in this process. Everything else (office, pdf, large files,
suspicious mails) is read by ``worker``, in a process that may crash.

All functions block, briefly or, if ``worker`` is needed, up to the limits: call them in a thread.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO, Final

from hub.text import archives, chats, office, pictures
from hub.text.decoding import decode_or_guess, from_first_letter
from hub.text.files import (
    CHAT,
    HTML,
    MAIL,
    MBOX,
    OFFICE,
    PDF,
    PICTURES,
    Converted,
    ConvertLimits,
    NotConvertible,
    media_type_of,
)
from hub.text.html import TooTangled, text_of_html
from hub.text.letter_text import (
    MAX_LETTER_BYTES,
    WHOLE,
    Attached,
    Letter,
    LetterBody,
    LetterOptions,
    letter_of_mail,
    shown_headers,
    text_of_letter,
)
from hub.text.mail_wrappers import SMIME
from hub.text.mbox import text_of_mbox
from hub.text.parts import part_key
from hub.text.worker import LETTER, Check, packed, read_apart

# Of a page or mail that is read in this process. The worst constructed file of this size takes 1 s.
_SMALL_BYTES: Final = 32 * 1024
_RISKY: Final = frozenset((HTML, MAIL, MBOX, CHAT))  # in a larger file


def convert(
    data: bytes,
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """Convert the bytes of a file to text; see ``convert_file``."""
    return convert_file(io.BytesIO(data), path=path, media_type=media_type, limits=limits, check=check)


def convert_file(
    file: IO[bytes],
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """Convert a file to text. Blocks.

    Args:
        file: complete content; its position does not matter.
        path: its extension determines the type if *media_type* does not.
        check: called regularly; an exception it raises ends the work and is passed on.

    Raises:
        NotConvertible: binary, damaged or too large, or a type that needs the extra ``[files]``.
    """
    limits = limits or ConvertLimits()
    size = file.seek(0, io.SEEK_END)
    if size > limits.bytes:
        raise NotConvertible(f"larger than {limits.bytes} bytes")
    named = media_type_of(path, media_type)
    file.seek(0)
    kind = archives.kind_in(file.read(archives.HEAD_BYTES), named)
    if kind in OFFICE and not office.is_installed():
        office.require()
    if kind in PICTURES:
        pictures.require()
    try:
        return _convert(file, kind, size, limits, check)
    except NotConvertible:
        if kind == named:
            raise
        return _convert(file, named, size, limits, check)  # it only seemed to be of another kind


def _convert(file: IO[bytes], kind: str, size: int, limits: ConvertLimits, check: Check) -> Converted:
    if kind in OFFICE or kind in PICTURES or (kind in _RISKY and size > _SMALL_BYTES):
        if not isinstance(file, io.BytesIO):
            return read_apart(file, kind, limits, check)
        return _apart(file.getbuffer(), kind, limits, check)
    file.seek(0)
    data = file.read()
    attached = _attached(limits, check) if kind in (MAIL, MBOX) else None
    return read(data, kind, max_bytes=limits.bytes, attached=attached)


def prepare() -> None:
    """Unpack the pdf library while its folder is writable; no effect without the extra ``[files]``."""
    if office.is_installed():
        with contextlib.suppress(NotConvertible):
            convert(office.MIN_PDF, path="", media_type=PDF)


def read_letter(
    letter: Letter,
    options: LetterOptions | None = None,
    *,
    check: Check = lambda: None,
) -> Converted:
    """Convert a mail in parts to text. Blocks.

    Args:
        check: called regularly while another process reads; an exception it raises ends the work and is
            passed on.

    Raises:
        NotConvertible: the mail is empty, its bodies are larger than 25 MiB, or a limit was reached.
    """
    options, limits = options or LetterOptions(), ConvertLimits()
    bodies = list(_bodies(letter))
    if sum(len(body.data) for body in bodies) > MAX_LETTER_BYTES:
        raise NotConvertible(f"a mail of more than {MAX_LETTER_BYTES >> 20} MiB")
    pages = sum(len(body.data) for body in bodies if body.media_type == HTML)
    signed = sum(
        len(enclosure.content or b"") for enclosure in letter.enclosures if enclosure.media_type in SMIME
    )
    # Larger pages, and more signed data, are read in another process.
    if pages + signed <= 256 * 1024:
        return text_of_letter(letter, options, attached=_attached(limits, check))
    return _apart(packed(_portable(letter)), LETTER, limits, check, options)


def _apart(
    data: bytes | memoryview,
    kind: str,
    limits: ConvertLimits,
    check: Check,
    letter: LetterOptions | None = None,
) -> Converted:
    with TemporaryFile() as file:
        file.write(data)
        return read_apart(file, kind, limits, check, letter)


def _attached(limits: ConvertLimits, check: Check) -> Attached:
    attachments = Attachments(limits.bytes)

    def attached(content: bytes, kind: str) -> Converted:
        if kind in OFFICE or len(content) > _SMALL_BYTES:
            return attachments.accept(convert(content, path="", media_type=kind, limits=limits, check=check))
        return attachments.read(content, kind)

    return attached


def _bodies(letter: Letter) -> Iterator[LetterBody]:
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


def read(data: bytes, kind: str, *, max_bytes: int, attached: Attached | None = None) -> Converted:
    """Convert *data* of a known type to text, within this process.

    Args:
        kind: a media type, see ``files``; an unknown type is read as text.
        max_bytes: limit of the text in UTF-8.
        attached: converts the attachments of mails; by default, they are converted in this process too.

    Raises:
        NotConvertible: damaged, binary, of another type, or too long.
    """
    converted = _by_kind(data, kind, attached or Attachments(max_bytes).read)
    size = len(converted.text.encode("utf-8", "replace"))
    if size > max_bytes:
        raise NotConvertible(f"unpacks to more than {max_bytes} bytes of text")
    return converted


class Attachments:
    """Converter of one file's attachments of mails, which share the size limit of a single file's text."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes

    def read(self, data: bytes, kind: str) -> Converted:
        """Convert an attachment. Raises ``NotConvertible`` as the function ``read``."""
        return self.accept(read(data, kind, max_bytes=self._room))

    def accept(self, converted: Converted) -> Converted:
        """Count an attachment that was converted elsewhere towards the limit.

        Raises:
            NotConvertible: the attachments' texts together are too long.
        """
        size = len(converted.text.encode("utf-8", "replace"))
        if size > self._room:
            raise NotConvertible("the attachments together have too much text")
        self._room -= size
        return converted


def _by_kind(data: bytes, kind: str, attached: Attached) -> Converted:
    if kind in OFFICE:
        scanned = pictures.read_scans(data) if kind == PDF and pictures.is_loaded() else ""
        return Converted(office.read(data, kind, scanned=scanned), kind)
    if kind in PICTURES:
        return Converted(pictures.read(data), kind)
    if kind == MAIL:
        mail = archives.mail_in(from_first_letter(data))
        return text_of_letter(letter_of_mail(mail, WHOLE), WHOLE, attached=attached)
    if kind == MBOX:
        return text_of_mbox(from_first_letter(data), attached=attached)
    text, guessed = decode_or_guess(data, is_page=kind == HTML)
    if kind == CHAT:
        parts = {part_key("", "elsewhere"): count} if (count := chats.count_media(text)) else {}
        return Converted(chats.text_of_export(text), kind, guessed=guessed, parts=parts)
    if kind == HTML:
        try:
            page = text_of_html(text)
        except TooTangled as error:
            raise NotConvertible(str(error)) from error
        parts = {} if page.text.strip() else {part_key(kind, "empty"): 1}
        return Converted(page.text, kind, page.dropped, guessed=guessed, parts=parts)
    return Converted(text, kind, guessed=guessed)
