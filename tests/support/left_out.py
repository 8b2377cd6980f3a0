"""Parts of files and mails that cannot be read: an input of each, and what each reader says of it."""

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Final, NamedTuple

from hub.text.files import media_type_of
from hub.text.office import MIN_PDF
from hub.text.parts import LOST_NOTHING, OUTCOMES

DESKTOP, MAILBOX, ATTACHMENT = "file of a desktop", "mailbox", "attachment"
WEBHOOK, FEED, MCP = "webhook", "feed", "MCP resource"
READERS: Final = (DESKTOP, MAILBOX, ATTACHMENT, WEBHOOK, FEED, MCP)
READ: Final = "read"  # nothing is left out
AS_TEXT: Final = "read as text"  # a reader that knows no mails or calendars gets the characters
NO_BYTES: Final = "only text comes"  # a feed has no binary content
BLOB: Final = "refused: it has no text"
CHARACTERS: Final = "U+FFFD for characters"


class Part(NamedTuple):
    """Row of the table: *data* is a file named *path*; the other readers get it as they get such content.

    Attributes:
        said: by reader; *otherwise* for the others.
    """

    name: str
    path: str
    data: bytes
    said: Mapping[str, str]
    otherwise: str = AS_TEXT

    def of(self, reader: str) -> str:
        """Return what a reader says."""
        return self.said.get(reader, self.otherwise)


def mail(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """Return a mail with a text and further parts, each a header and a body."""
    body = b"".join(
        b"--%b\r\n" % boundary.encode() + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in (("Content-Type: text/plain", b"Hello."), *parts)
    )
    head = f"Subject: Rent\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n"
    return head.encode() + body + f"--{boundary}--\r\n".encode()


def attached(path: str, data: bytes, kind: str = "application/octet-stream") -> bytes:
    """Return a mail with an attached file."""
    head = f"Content-Type: {kind}\r\nContent-Disposition: attachment; filename={path}\r\n"
    return mail(
        (f"{head}Content-Transfer-Encoding: base64", base64.encodebytes(data).replace(b"\n", b"\r\n"))
    )


def calendar(*lines: str) -> bytes:
    """Return a calendar with these lines."""
    return "".join(f"{line}\r\n" for line in ("BEGIN:VCALENDAR", *lines, "END:VCALENDAR")).encode()


def todo(*lines: str) -> bytes:
    """Return a calendar with a to-do."""
    return calendar("BEGIN:VTODO", *lines, "END:VTODO")


_WORDS: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES: Final = (
    "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'>"
    "<Override PartName='/word/document.xml' ContentType="
    "'application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/></Types>"
)


def _zip(name: str, size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        body = f"<w:body><w:p><w:r><w:t>{'a ' * size}</w:t></w:r></w:p></w:body>"
        archive.writestr(name, f"<w:document xmlns:w='{_WORDS}'>{body}</w:document>")
    return file.getvalue()


def _nested(depth: int) -> bytes:
    found = b"Subject: deep\r\n\r\nHello.\r\n"
    for level in range(depth):
        found = mail(("Content-Type: message/rfc822", found), boundary=f"level{level}")
    return found


_SEALED: Final = bytes.fromhex("300d06092a864886f70d010703a000")  # CMS: enveloped data
_PGP: Final = b"-----BEGIN PGP MESSAGE-----\r\n\r\nwcBMA0\r\n=x\r\n-----END PGP MESSAGE-----\r\n"
_CHAT: Final = (
    "06/01/2025, 14:22 - Anna: Pay rent\n06/01/2025, 14:23 - Bob: <Media omitted>\n"
    "28/01/2025, 14:24 - Bob: ok\n"
)


LONG: Final = b"Pay the rent by Friday. " * 2_000  # 48 KB: more than connectors read by default
_CUT: Final = "text/markdown cut off"
_TANGLED: Final = "refused: nested too deeply"
_LOCKED: Final = "refused: damaged, locked with a password"
_BOMB: Final = "refused: unpacks to more than 33554432 bytes of text"
_DOCX: Final = media_type_of("a.docx")


def _three(said: str) -> dict[str, str]:
    """Return what all readers of mails say."""
    return dict.fromkeys((DESKTOP, MAILBOX, ATTACHMENT), said)


def _four(said: str) -> dict[str, str]:
    """Return what all readers of calendars say."""
    return _three(said) | {FEED: said}


PARTS: Final = (
    Part(
        "encrypted by S/MIME",
        "a.eml",
        attached("smime.p7m", _SEALED, "application/pkcs7-mime"),
        _three("application/pkcs7-mime encrypted"),
    ),
    Part(
        "encrypted by PGP/MIME",
        "a.eml",
        mail(
            (
                "Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=c",
                b"--c\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--c\r\n"
                b"Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n" + _PGP + b"--c--",
            )
        ),
        _three("application/pgp-encrypted encrypted"),
    ),
    Part(
        "encrypted by PGP in its text",
        "a.eml",
        b"Subject: Rent\r\n\r\n" + _PGP,
        _three("text/plain encrypted"),
    ),
    Part(
        "encrypted or other archive",
        "a.eml",
        attached("a.zip", b"PK\3\4", "application/zip"),
        _three("application/zip no text"),
    ),
    Part(
        "attachment that is too large",
        "a.eml",
        attached("a.txt", b"Pay. " * 40_000, "text/plain"),
        _three(READ) | {MAILBOX: "text/plain too large"},
        _CUT,
    ),
    Part(
        "too many parts",
        "a.eml",
        mail(*[("Content-Type: text/plain", b"Pay.")] * 250),
        _three("refused: the mail has more than 200 parts") | {MAILBOX: "multipart/mixed cut off"},
    ),
    Part(
        "broken base64",
        "a.eml",
        b"Subject: Rent\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nUGF5!*IHJlbnQ",
        _three("text/plain damaged"),
    ),
    Part(
        "bytes of no charset",
        "a.eml",
        b"Subject: Rent\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"Pay \x81\xfe\x00\xff rent",
        _three(CHARACTERS) | {WEBHOOK: CHARACTERS, FEED: NO_BYTES, MCP: BLOB},
    ),
    Part(
        "end of the mail is missing",
        "a.eml",
        mail().removesuffix(b"--b--\r\n"),
        _three("multipart/mixed cut off") | {MAILBOX: READ},
    ),
    Part("mails in mails, too deep", "a.eml", _nested(5), _three("message/rfc822 unreadable")),
    Part("picture", "a.eml", attached("a.png", b"\x89PNG", "image/png"), _three("image/png no text")),
    Part(
        "content elsewhere (external-body)",
        "a.eml",
        mail(
            (
                "Content-Type: message/external-body; access-type=URL; url=x",
                b"Content-Type: text/plain\r\n\r\n",
            )
        ),
        _three("message/external-body elsewhere"),
    ),
    Part(
        "part of a mail (message/partial)",
        "a.eml",
        mail(("Content-Type: message/partial; id=x; number=1; total=2", b"Subject: Big\r\n\r\nPay the rent")),
        _three("message/partial cut off"),
    ),
    Part(
        "winmail.dat",
        "a.eml",
        attached("winmail.dat", b'x\x9f>"', "application/ms-tnef"),
        _three("application/ms-tnef no text"),
    ),
    Part(
        "winmail.dat without a name",
        "a.eml",
        mail(("Content-Type: application/ms-tnef", b"x")),
        _three("application/ms-tnef no text"),
    ),
    Part(
        "text beyond the limit of a filter",
        "a.txt",
        LONG,
        _three(READ) | {MAILBOX: "message/rfc822 cut off"},
        _CUT,
    ),
    Part(
        "page that needs its scripts",
        "a.html",
        b"<html><body><div id=app></div><script>run()</script></body></html>",
        _three("text/html empty"),
    ),
    Part(
        "page nested too deeply",
        "a.html",
        b"<div>" * 20_000 + b"Pay the rent",
        _three("text/html unreadable") | {DESKTOP: _TANGLED, FEED: f"refused: entry g1: {_TANGLED[9:]}"},
        _CUT,
    ),
    Part(
        "pdf without a text layer",
        "a.pdf",
        MIN_PDF,
        _three("application/pdf unreadable") | {DESKTOP: "refused: no text could be found in it"},
    ),
    Part(
        "locked or damaged document",
        "a.docx",
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
        _three(f"{_DOCX} unreadable") | {DESKTOP: _LOCKED, WEBHOOK: CHARACTERS, FEED: NO_BYTES, MCP: BLOB},
    ),
    Part(
        "archive bomb",
        "a.docx",
        _zip("word/document.xml", 20 * 1024 * 1024),
        _three(f"{_DOCX} unreadable")
        | {DESKTOP: _BOMB, WEBHOOK: f"{_CUT}, {CHARACTERS}", FEED: NO_BYTES, MCP: BLOB},
    ),
    Part(
        "mail of an archive (mbox) with too many parts",
        "a.mbox",
        b"From x\nSubject: One\n\nPay\n\nFrom y\n"
        + mail(*[("Content-Type: text/plain", b"Pay.")] * 250).replace(b"\r\n", b"\n"),
        _three("message/rfc822 unreadable"),
    ),
    Part("media that an export of a chat omits", "a.txt", _CHAT.encode(), {DESKTOP: "other elsewhere"}),
    Part("calendar with folded names", "a.ics", todo("SUM", " MARY:Pay rent", "DUE:20260403"), _four(READ)),
    Part("entry without a text", "a.ics", todo("UID:a", "DUE:20260403"), _four("VTODO no text")),
    Part(
        "entry that is no component",
        "a.ics",
        todo("SUMMARY:Pay rent", "BEGIN:VALARM"),
        _four("VTODO unreadable, unresolved_date"),
    ),
    Part(
        "entry without an end",
        "a.ics",
        todo("SUMMARY:Pay rent").replace(b"END:VTODO\r\n", b""),
        _three("text/calendar cut off") | dict.fromkeys((DESKTOP, FEED), "the calendar is cut off"),
    ),
    Part(
        "event without a time",
        "a.ics",
        calendar("BEGIN:VEVENT", "SUMMARY:Fair", "DTSTART:soon", "END:VEVENT"),
        _four("unresolved_date"),
    ),
    Part(
        "rule of a series outside bounds",
        "a.ics",
        calendar(
            "BEGIN:VEVENT",
            "SUMMARY:Fair",
            "DTSTART:20260403",
            "RRULE:FREQ=NEVER;COUNT=99999999999",
            "END:VEVENT",
        ),
        _four(READ),
    ),
    Part(
        "alarm of an entry",
        "a.ics",
        todo("SUMMARY:Pay rent", "BEGIN:VALARM", "ACTION:AUDIO", "END:VALARM"),
        _four(READ),
    ),
    Part(
        "free and busy times",
        "a.ics",
        calendar("BEGIN:VFREEBUSY", "FREEBUSY:20260403T100000Z/PT1H", "END:VFREEBUSY"),
        _four("VFREEBUSY no text"),
    ),
    Part("journal", "a.ics", calendar("BEGIN:VJOURNAL", "SUMMARY:Snow", "END:VJOURNAL"), _four(READ)),
    Part(
        "calendar without entries",
        "a.ics",
        calendar("VERSION:2.0"),
        _four("text/calendar empty") | {FEED: "not listed"},
    ),
    Part(
        "no calendar",
        "a.ics",
        b"Pay the rent.\r\n",
        _three("text/calendar unreadable") | {FEED: "refused: the answer is no calendar"},
    ),
)


def table() -> str:
    """Return the table of the handbook, whose rows have all readers, and the meanings of the outcomes."""
    rows = ["| part | said | by |", "|---|---|---|"]
    for part in PARTS:
        readers: dict[str, list[str]] = {}
        for reader in READERS:
            readers.setdefault(part.of(reader).replace(_DOCX, "(type of a .docx file)"), []).append(reader)
        rows += [f"| {part.name} | {said} | {', '.join(names)} |" for said, names in readers.items()]
    rows += ["", "| outcome | meaning | hidden if alone |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {text} | {'yes' if name in LOST_NOTHING else 'no'} |"
        for name, text in OUTCOMES.items()
    ]
    return "\n".join((*rows, ""))
