"""Random input from a seed: examples that are bent, cut, repeated and crossed with each other."""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from protocol.codec import FROM_DEVICE, FROM_HUB
from tests.support.protocol_examples import CONVERSATIONS

MAX_BYTES: Final = 64 * 1024
_MAX_COPIES: Final = 2_000
_DOCS: Final = Path(__file__).parents[2] / "hub" / "docs"

_FRAMES: Final = [frame for talk in CONVERSATIONS for frame in talk.frames]
FROM_DEVICES: Final = [msgspec.json.encode(frame) for frame in _FRAMES if isinstance(frame, FROM_DEVICE)]
FROM_HUBS: Final = [msgspec.json.encode(frame) for frame in _FRAMES if isinstance(frame, FROM_HUB)]
_ODD: Final[Sequence[Callable[[], Any]]] = (
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 2**63,
    lambda: -(2**63),
    lambda: 1e308,
    lambda: 5e-324,
    lambda: "",
    lambda: "\x00\ud7ff\u202e\U0001f600",
    lambda: "a" * 10_000,
    list,
    dict,
    lambda: [[]] * 1_000,
    lambda: [1e308] * 1_200,
    lambda: {str(n): n for n in range(500)},
    lambda: _nested(60),
    lambda: _nested(900),
)

TOML: Final = [
    block.encode()
    for page in sorted(_DOCS.glob("*.md"))
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]
ANSWERS: Final = [
    b'{"items": [{"table": "tasks", "quote": "Anna must send the quote by Friday.", "title": "send it", '
    b'"assignee": ["Anna"], "due": "Friday", "priority": "high"}]}',
    b'```json\n[{"table": "notes", "quote": "Bob likes tea.", "title": "tea", "content": "tea"}]\n```',
    b"<think>maybe {\"items\": []}?</think>{items: [{table: 'timelines', quote: 'by Friday', title: x,},],}",
    "{“items”: [{“table”: “tasks”, “quote”: “Anna must”, “dueDate”: 1766000000000}]} // done".encode(),
]
MAILS: Final = [
    b"""From: =?utf-8?q?An=C3=A9?= <anna@example.org>
To: b@example.org, "C, D" <c@example.org>
Subject: =?iso-8859-1?B?Zm9v?= plain
Date: Tue, 5 May 2026 10:00:00 +0200 (CEST)
Message-ID: <1@example.org>
References: <0@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

--b1
Content-Type: multipart/alternative; boundary=b2

--b2
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Send the quote =C3=A9=
 now.
> older
--b2
Content-Type: text/html; charset="windows-1252"
Content-Transfer-Encoding: base64

PHA+SGVsbG8gPGI+d29ybGQ8L2I+PC9wPg==
--b2--
--b1
Content-Type: text/csv; name*0*=utf-8''a%20; name*1="b.csv"
Content-Disposition: attachment; filename="=?utf-8?b?4oKs?=.csv"

a,b
1,2
--b1
Content-Type: message/rfc822

From: x@example.org
Subject: inner

hi
--b1--
""".replace(b"\n", b"\r\n"),
    b"""From: a@example.org
Subject: short
Date: 32 Foo 2026 99:99
Auto-Submitted: auto-replied

body
""",
    b"""Content-Type: text/html

<table><tr><td>a<td>b</table><!-- <script>x</script> &amp;&#x41;&#999999999;""",
]
CALENDARS: Final = [
    b"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//a//b
BEGIN:VTIMEZONE
TZID:Europe/Rome
BEGIN:STANDARD
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:1@example.org
DTSTAMP:20260505T080000Z
DTSTART;TZID=Europe/Rome:20260506T090000
DTEND;TZID=Europe/Rome:20260506T100000
SUMMARY:Call with \\, the studio
 and more
RRULE:FREQ=WEEKLY;COUNT=3
ORGANIZER;CN=Anna:mailto:anna@example.org
ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.org
CATEGORIES:a,b
URL:https://example.org/x
END:VEVENT
BEGIN:VTODO
UID:2
DTSTAMP:20260505T080000Z
DUE;VALUE=DATE:20260507
SUMMARY:Pay
PRIORITY:1
STATUS:NEEDS-ACTION
PERCENT-COMPLETE:10
END:VTODO
END:VCALENDAR
""".replace(b"\n", b"\r\n"),
]
MULTISTATUS: Final = [
    b"""<?xml version="1.0" encoding="utf-8"?>
<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">
<d:response><d:href>/cal/1.ics</d:href><d:propstat><d:prop><d:getetag>"1"</d:getetag>
<d:displayname>A</d:displayname><d:resourcetype><d:collection/><c:calendar/></d:resourcetype>
<c:supported-calendar-component-set><c:comp name="VTODO"/></c:supported-calendar-component-set>
<c:calendar-data>BEGIN:VCALENDAR&#13;\nEND:VCALENDAR</c:calendar-data></d:prop>
<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>
<d:response><d:href>/cal/2.ics</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>
<d:sync-token>http://example.org/sync/1</d:sync-token></d:multistatus>""",
    b'<d:error xmlns:d="DAV:"><d:valid-sync-token/></d:error>',
]
FEEDS: Final = [
    b"""<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>a</title>
<item><title>One &amp; two</title><link>https://example.org/1</link><guid isPermaLink="false">g1</guid>
<pubDate>Wed, 06 May 2026 12:00:00 GMT</pubDate><dc:creator>Ana</dc:creator><category>a</category>
<description>&lt;p&gt;Anna must answer.&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;</description></item>
<item><guid>g2</guid><description>two</description></item></channel></rss>""",
    b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>tag:a,2026:1</id>
<title type="html">A &amp;lt; b</title><link href="https://example.org/1"/><author><name>Ana</name></author><updated>2026-05-06T12:00:00Z</updated>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Anna must answer.</p></div></content>
</entry></feed>""",
    b"""[{"node_id": "1", "title": "a", "body": "Anna must answer.", "user": {"login": "ana"}, "number": 1,
"labels": [{"name": "bug"}], "created_at": "2026-05-06T12:00:00Z", "updated_at": "2026-05-06T12:00:00Z"},
{"node_id": 2, "title": null, "labels": null, "updated_at": 1780444800}]""",
]
CRON: Final = [
    *(
        b"* * * * *",
        b"*/5 8-18/2 1,15 jan-mar mon#2",
        b"0 7 L * *",
        b"30 4 15W * *",
        b"0 0 * * +5L",
        b"@daily",
    ),
    *(b"@every 90s", b"59 23 31 12 7", b"0 12 LW * *", b"5 4 * * sun"),
]
_TOKENS: Final = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        "\u2028\u202e\u0130\U000e0041".encode(),
        b"\r\n\r\n",
        b"\n",
        b" " * 500,
    ),
    *(
        b"[" * 3_000,
        b"{" * 3_000,
        b'"',
        b"'''",
        b'"""',
        b"\\u0000",
        b"\\",
        b"&#0;",
        b"<!DOCTYPE a>",
        b"<a>" * 2_000,
    ),
    *(
        b"9" * 400,
        b"1e308,",
        b"-1",
        b"0x",
        b"99999999999T999999Z",
        b"00000000",
        b"nan",
        b"BEGIN:VEVENT\r\n" * 500,
    ),
    *(
        b"=?utf-8?q?" * 300,
        b"--b1\r\n" * 300,
        b";" * 2_000,
        b"," * 2_000,
        b"(" * 2_000,
        b"charset=undefined",
        b"%zz",
    ),
    *(
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 60,
        b"<think>",
        b"/*",
        b"`" * 500,
        b"." * 2_000,
    ),
)

_NAMES: Final = (
    *("a.txt", "a.md", "a.org", "a.csv", "a.tsv", "a.ics", "a.taskpaper", "todo.txt", "a.srt", "a.vtt"),
    *("a.rst", "a.html", "a.json", "a.tex", "a.log", "a.docx", "a.pdf", "a.eml", "a.yaml", "a.adoc"),
)
_WORDS: Final = """
please send call Ann Ben report the by Friday tomorrow next week meeting at until due must should we
will agreed decided project note bitte bis Freitag morgen Bericht anrufen Herr M\u00fcller muss soll
Termin um Uhr spätestens veuillez envoyer avant vendredi demain réunion rapport il faut rendre le
janvier por favor enviar antes del viernes mañana reunión informe hay que el enero пожалуйста отправить
до пятницы завтра встреча отчёт нужно 请在周五之前 明天 开会 报告 jutro spotkanie domani venerdì amanhã sexta
vergadering TODO DONE WAITING BEGIN:VEVENT SUMMARY: DUE; https://x.example/a?b=1 a@b.example @context
+project #tag 📅 ✅ key:value due:2031-05-01 rec:1w <b>call</b> <p> &nbsp; `code` **bold** [link](u)
[[wiki]] $12.50 12,50 100% v1.2.3 3x 2nd Q3 KW12 W23 ABC-123 2031-05-06 2031-05-06T10:00:00Z 9.12 9.12.
24/3 3/1/31 10:30 17h 4:15pm 9-10 Mon Di jeu vie пт 周三 Dec März mai ago 12月 7 31 2031 99999999 ? !.. ( )
— … • \u200b |
"""
_BEGINNINGS: Final = (
    *(
        "",
        "",
        "",
        "",
        "- ",
        "* ",
        "- [ ] ",
        "- [x] ",
        "1. ",
        "2) [ ] ",
        "# ",
        "## ",
        "> ",
        "> > ",
        "\t",
        "  ",
    ),
    *(
        "| ",
        "* TODO ",
        "(A) ",
        "x 2031-01-01 ",
        ": ",
        "-- ",
        "Ann: ",
        "Date: ",
        "From: ",
        "Subject: ",
        ":ID: ",
    ),
    *("On 2031-01-01 Ann wrote: ", "[01/02/31, 10:00:00] Ann: ", "01.02.31, 10:00 - Ann: ", "\ufeff", "…"),
    *("DTSTART:20310511T100000Z ", "#+X: ", "00:00:11,000 --> 00:00:12,000 "),
)
_SEPARATORS: Final = (*(" ",) * 8, ", ", "; ", ". ", "  ", "\t", "", "|", ",", "! ", "? ", " - ", ": ", "\n")
_ENDS: Final = (*("\n",) * 8, "\n\n", "\r\n", "\r", " ", "", ". ", "\n---\n", "\u2028")


_DATES: Final = 0.15  # of the words of a line


def _date(chance: random.Random) -> str:
    """Return figures of a day, with any sign between them, or of a time."""
    if chance.random() < 0.3:
        return f"{chance.randrange(24)}{chance.choice(':.h')}{chance.randrange(60):02}"
    year = chance.choice(("", ".", ".2031", "/31", "-2031"))
    return f"{chance.randrange(1, 32)}{chance.choice('./-')}{chance.randrange(1, 13)}{year}"


def written(chance: random.Random) -> tuple[str, str]:
    """Return the name of a file, and lines of words, dates and marks of many languages and formats."""
    lines = []
    for _ in range(chance.choice((1, 2, 3, 5, 12, 30))):
        separator = chance.choice(_SEPARATORS)
        words = chance.choices(_WORDS.split(), k=chance.choice((0, 1, 2, 4, 6, 10, 30)))
        words = [_date(chance) if chance.random() < _DATES else word for word in words]
        lines.append(chance.choice(_BEGINNINGS) + separator.join(words) + chance.choice(_ENDS))
    return chance.choice(_NAMES), "".join(lines)


def bent(chance: random.Random, examples: Sequence[bytes]) -> bytes:
    """Return one of the *examples* with a few random changes."""
    data = bytearray(chance.choice(examples))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 2, 10, 200)))
        match chance.randint(0, 7):
            case 0 if data:
                data[at - 1] ^= 1 << chance.randint(0, 7)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * chance.choice((1, 3, 50, _MAX_COPIES))
            case 3:
                data[at:at] = chance.choice(_TOKENS)
            case 4:
                data[at:end] = chance.choice(_TOKENS)
            case 5:
                del data[at:]
            case 6:
                data[at:end] = chance.randbytes(chance.randint(1, 20))
            case _:
                other = chance.choice(examples)
                start = chance.randint(0, len(other))
                data[at:at] = other[start : start + chance.choice((5, 50, 5_000))]
        del data[MAX_BYTES:]
    return bytes(data)


def bent_frame(chance: random.Random, examples: Sequence[bytes]) -> object:
    """Return one of the frames in JSON in *examples*, in which a few values are others."""
    frame: Any = msgspec.json.decode(chance.choice(examples))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        inner: Any = frame
        while True:
            if isinstance(inner, dict) and inner:
                place = chance.choice(list(inner))
            elif isinstance(inner, list) and inner:
                place = chance.randrange(len(inner))
            else:
                break
            if not isinstance(inner[place], dict | list) or not inner[place] or chance.random() < 0.3:
                if chance.random() < 0.8:
                    inner[place] = chance.choice(_ODD)()
                else:
                    del inner[place]
                break
            inner = inner[place]
    return frame


def _nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value
