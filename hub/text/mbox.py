"""Conversion of an mbox, a file of many mails, to text. Pure functions.

Each mail begins with the separator line of the file ("From ana@example.org Tue Jun 3 10:00:00 2025"). Its
text follows, in the format of a single mail. Lines of a mail that look like a separator are indented by a
blank. A mail that cannot be read is replaced by the reason; the others are not affected.
"""

import re
from collections.abc import Iterator
from typing import Final

from hub.text.files import NotConvertible
from hub.text.letter import WHOLE, Attached
from hub.text.letter_text import is_tame, letter_of_mail, shown_headers, text_of_letter
from hub.text.mime import letters, on_one_line

MOST_MAILS: Final = 100_000

_MOST_LINE_CHARS: Final = 200
# A blank line, the separator, and a header field: "From here on ..." in a mail is no separator.
_SEPARATOR: Final = re.compile(
    rb"(?:\A(?:\xef\xbb\xbf)?|(?<=\n\n)|(?<=\n\r\n))From ([^\r\n]*)\r?\n(?=[!-9;-~]+:)"
)
_ESCAPED: Final = re.compile(rb"^>(?=>*From )", re.MULTILINE)
_ALIKE: Final = re.compile(r"^(?=From )", re.MULTILINE)


def text_of_mbox(data: bytes, *, attached: Attached) -> tuple[str, int]:
    """Return the text of an mbox, and the number of hidden parts that were left out.

    Args:
        attached: converts an attachment, given its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: no mail in it can be read.
    """
    parts: list[str] = []
    dropped = read = 0
    reason = "not an mbox: it does not begin with a mail"
    for nth, (line, mail) in enumerate(_mails(data)):
        if nth == MOST_MAILS:
            parts.append(f"[not read: the mails after the first {MOST_MAILS:,}]\n\n")
            break
        try:
            text, hidden = _text(mail, attached)
            dropped += hidden
            read += 1
        except NotConvertible as error:
            reason = str(error)
            text = f"\n[a mail that was not read: {reason}]\n"
        parts += (f"From {line}".rstrip(), "\n", text, "\n")
    if not read:
        raise NotConvertible(reason)
    return "".join(parts), dropped


def _text(mail: bytes, attached: Attached) -> tuple[str, int]:
    if not is_tame(mail):
        raise NotConvertible("it has too many parts; save it as a file of its own (.eml)")
    letter = letter_of_mail(_ESCAPED.sub(b"", mail), WHOLE)
    converted = text_of_letter(letter, WHOLE, attached=attached)
    text = _ALIKE.sub(" ", converted.text)
    # An empty line ends the headers, so that a mail without headers cannot pretend to have some.
    return text if shown_headers(letter) else f"\n{text}", converted.dropped


def _mails(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the content of each separator line, and the mail after it."""
    before: re.Match[bytes] | None = None
    for match in _SEPARATOR.finditer(data):
        if before is not None:
            yield _line(before), data[before.end() : match.start()]
        before = match
    if before is not None:
        yield _line(before), data[before.end() :]


def _line(separator: re.Match[bytes]) -> str:
    return on_one_line(letters(separator[1][:_MOST_LINE_CHARS].decode("utf-8", "surrogateescape")))
