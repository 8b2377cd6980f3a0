"""Conversion of bytes of a known type within this process. ``convert`` selects the process."""

from hub.text import chats, office, pictures
from hub.text.archives import text_of_mbox
from hub.text.decoding import decode_or_guess
from hub.text.files import CHAT, HTML, MAIL, MBOX, OFFICE, PDF, PICTURES, Converted, NotConvertible
from hub.text.html import TooTangled, text_of_html
from hub.text.letter_text import WHOLE, Attached, letter_of_mail, text_of_letter


def read(data: bytes, kind: str, *, max_bytes: int, attached: Attached | None = None) -> Converted:
    """Convert *data* to text.

    Args:
        kind: a media type, see ``files``; an unknown type is read as text.
        max_bytes: limit of the text in UTF-8.
        attached: converts the attachments of mails; by default, they are converted in this process too.

    Raises:
        NotConvertible: damaged, binary, of another type, or too long.
    """
    converted = _read(data, kind, attached or Attachments(max_bytes).read)
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
        return self.take(read(data, kind, max_bytes=self._room))

    def take(self, converted: Converted) -> Converted:
        """Count an attachment that was converted elsewhere towards the limit.

        Raises:
            NotConvertible: the attachments' texts together are too long.
        """
        size = len(converted.text.encode("utf-8", "replace"))
        if size > self._room:
            raise NotConvertible("the attachments together have too much text")
        self._room -= size
        return converted


def _read(data: bytes, kind: str, attached: Attached) -> Converted:
    if kind in OFFICE:
        scanned = pictures.read_scans(data) if kind == PDF and pictures.is_loaded() else ""
        return Converted(office.read(data, kind, scanned=scanned), kind)
    if kind in PICTURES:
        return Converted(pictures.read(data), kind)
    if kind == MAIL:
        return text_of_letter(letter_of_mail(data, WHOLE), WHOLE, attached=attached)
    if kind == MBOX:
        return text_of_mbox(data, attached=attached)
    text, guessed = decode_or_guess(data, is_page=kind == HTML)
    if kind == CHAT:
        return Converted(chats.text_of_export(text), kind, guessed=guessed)
    if kind == HTML:
        try:
            page = text_of_html(text)
        except TooTangled as error:
            raise NotConvertible(str(error)) from error
        return Converted(page.text, kind, page.dropped, guessed=guessed)
    return Converted(text, kind, guessed=guessed)
