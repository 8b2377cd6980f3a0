"""Bytes of a known kind to text, in this very process. Which process that is, is ``convert``'s to decide."""

from hub.text import office
from hub.text.converted import Converted, NotConvertible
from hub.text.decoding import decode
from hub.text.html import TooTangled, text_of_html
from hub.text.kinds import HTML, MAIL, OFFICE
from hub.text.mail import Attached, text_of_mail


def read(data: bytes, kind: str, *, max_bytes: int, attached: Attached | None = None) -> Converted:
    """The text of *data*.

    Args:
        kind: a media type, see ``kinds``; an unknown one is text.
        max_bytes: of the text in UTF-8.
        attached: reads what hangs on to a mail; here as well, if ``None``.

    Raises:
        NotConvertible: damaged, binary, not what it was said to be, or too long.
    """
    converted = _read(data, kind, attached or Attachments(max_bytes).read)
    size = len(converted.text.encode("utf-8", "replace"))
    if size > max_bytes:
        raise NotConvertible(f"unpacks to more than {max_bytes} bytes of text")
    return converted


class Attachments:
    """Reads the attachments of one mail; together their text is no longer than a file's may be."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes

    def read(self, data: bytes, kind: str) -> Converted:
        """The text of one. Raises ``NotConvertible``, as the function ``read``."""
        return self.take(read(data, kind, max_bytes=self._room))

    def take(self, converted: Converted) -> Converted:
        """One that was read elsewhere.

        Raises:
            NotConvertible: with the others it is too long.
        """
        size = len(converted.text.encode("utf-8", "replace"))
        if size > self._room:
            raise NotConvertible("the attachments together have too much text")
        self._room -= size
        return converted


def _read(data: bytes, kind: str, attached: Attached) -> Converted:
    if kind in OFFICE:
        return Converted(office.read(data, kind), kind)
    if kind == MAIL:
        mail = text_of_mail(data, attached=attached)
        return Converted(mail.text, kind, mail.dropped, mail.date)
    text = decode(data)
    if kind == HTML:
        try:
            page = text_of_html(text)
        except TooTangled as error:
            raise NotConvertible(str(error)) from error
        return Converted(page.text, kind, page.dropped)
    return Converted(text, kind)
