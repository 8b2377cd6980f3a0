"""Conversion of an mbox, a file of many mails, to text.

Each mail begins with the separator line of the file ("From ana@example.org Tue Jun 3 10:00:00 2025"). Its
text follows, in the format of a single mail. Lines of a mail that look like a separator are indented by a
blank. A mail that cannot be read is replaced by the reason; the others are not affected.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hub.text.files import MAIL, MBOX, Converted, NotConvertible
from hub.text.header_values import on_one_line
from hub.text.letter_text import (
    WHOLE,
    Attached,
    is_tame,
    letter_of_mail,
    shown_headers,
    text_of_letter,
)
from hub.text.mime import letters
from hub.text.parts import MAX_NAMED, part_key

MAX_MAILS: Final = 100_000

# A blank line, the separator, and a header field: "From here on ..." in a mail is no separator.
_SEPARATOR: Final = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From ([^\r\n]*)\r?\n(?=[!-9;-~]+:)")
_ESCAPED: Final = re.compile(rb"^>(?=>*From )", re.MULTILINE)
_ALIKE: Final = re.compile(r"^(?=From )", re.MULTILINE)


def text_of_mbox(data: bytes, *, attached: Attached) -> Converted:
    """Return the text of an mbox, with the first encoding that was guessed.

    Args:
        attached: converts an attachment, given its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: no mail in it can be read.
    """
    parts: list[str] = []
    dropped = read = 0
    unread = Counter[str]()
    guessed: str | None = None
    reason = "not an mbox: it does not begin with a mail"
    for nth, (line, mail) in enumerate(_parsed_mails(data)):
        if nth == MAX_MAILS:
            unread[part_key(MAIL, "too many")] += 1
            parts.append(f"[not read: the mails after the first {MAX_MAILS:,}]\n\n")
            break
        try:
            converted = _converted(mail, attached)
            text, guessed = converted.text, guessed or converted.guessed
            dropped += converted.dropped
            unread.update(converted.parts)
            read += 1
        except NotConvertible as error:
            reason = str(error)
            unread[part_key(MAIL, "unreadable")] += 1
            text = f"\n[a mail that was not read: {reason}]\n"
        parts += (f"From {line}".rstrip(), "\n", text, "\n")
    if not read:
        raise NotConvertible(reason)
    return Converted(
        "".join(parts), MBOX, dropped, guessed=guessed, parts=dict(unread.most_common(MAX_NAMED))
    )


def _converted(mail: bytes, attached: Attached) -> Converted:
    if not is_tame(mail):
        raise NotConvertible("it has too many parts; save it as a file of its own (.eml)")
    letter = letter_of_mail(_ESCAPED.sub(b"", mail), WHOLE)
    converted = text_of_letter(letter, WHOLE, attached=attached)
    text = _ALIKE.sub(" ", converted.text)
    # An empty line ends the headers, so that a mail without headers cannot pretend to have some.
    return replace(converted, text=text if shown_headers(letter) else f"\n{text}")


def _parsed_mails(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the content of each separator line, and the mail after it."""
    before: re.Match[bytes] | None = None
    for match in _SEPARATOR.finditer(data):
        if before is not None:
            yield _line(before), data[before.end() : match.start()]
        before = match
    if before is not None:
        yield _line(before), data[before.end() :]


def _line(separator: re.Match[bytes]) -> str:
    return on_one_line(letters(separator[1][:200].decode("utf-8", "surrogateescape")))
