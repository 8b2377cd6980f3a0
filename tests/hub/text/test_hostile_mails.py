"""Mails that were built to hurt come to an end, in the memory that is allowed, and say what is left out."""

import base64
import contextlib
import resource
import tracemalloc
from collections.abc import Callable
from email.message import EmailMessage

import pytest

from hub.text.convert import convert, read_letter
from hub.text.files import Converted, ConvertLimits, NotConvertible
from hub.text.letter_text import Letter, LetterBody, LetterOptions, is_tame, letter_of_mail
from tests.support.families import each

MIB = 1024 * 1024
# What one mail may take of the process that asks: the mail itself, and a little beside.
MAX_GROWTH = 60 * MIB
LIMITS = ConvertLimits(seconds=30.0)


def read_file(data: bytes, limits: ConvertLimits = LIMITS) -> Converted:
    return convert(data, path="a.eml", limits=limits)


def read_raw(data: bytes, *, fetch: bool = False) -> Converted:
    """Read a mail of a mailbox, in this process."""
    options = LetterOptions(fetch=fetch)
    return read_letter(letter_of_mail(data, options), options)


def nested(depth: int, inner: str = "Call Ana.") -> bytes:
    heads = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth))
    return f"Subject: Rent\r\n{heads}\r\n{inner}\r\n".encode()


def many_parts(count: int) -> bytes:
    parts = "".join(f"--x\r\nContent-Type: text/plain\r\n\r\nwords {n}\r\n" for n in range(count))
    return f"Subject: Rent\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n{parts}--x--".encode()


def page(html: str) -> bytes:
    return b"Subject: Rent\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html.encode()


def mails_in_mails(depth: int) -> bytes:
    data = b"Subject: the first\r\n\r\nCall Ana."
    for _ in range(depth):
        data = b"Subject: one more\r\nContent-Type: message/rfc822\r\n\r\n" + data
    return data


HOSTILE: dict[str, Callable[[], bytes]] = {
    "parts in parts, 50 deep": lambda: nested(50),
    "parts in parts, 1,000 deep": lambda: nested(1_000),
    "ten thousand parts": lambda: many_parts(10_000),
    "thirty thousand headers": lambda: b"X-A: b\r\n" * 30_000 + b"Subject: Rent\r\n\r\nCall Ana.",
    "a header of 5 MB": lambda: b"Subject: " + b"=?utf-8?q?a?= " * 350_000 + b"\r\n\r\nCall Ana.",
    "a type of 2 MB of parameters": lambda: (
        b"Content-Type: text/plain" + b";a=b" * 500_000 + b"\r\n\r\nCall Ana."
    ),
    "a border of 2 MB": lambda: (
        b"Content-Type: multipart/mixed; boundary=" + b"x" * 2_000_000 + b"\r\n\r\nCall Ana."
    ),
    "a name in 300,000 pieces": lambda: (
        b"Subject: Rent\r\nContent-Disposition: attachment"
        + b"".join(b";\r\n filename*%d*=a" % n for n in range(300_000))
        + b"\r\n\r\nCall Ana."
    ),
    "a thousand mails in each other": lambda: mails_in_mails(1_000),
    "fifty thousand nested divs": lambda: page("<div>" * 50_000 + "Call Ana." + "</div>" * 50_000),
    "fifty thousand open bold tags": lambda: page("<b>" * 50_000 + "Call Ana."),
    "fifty thousand quotes in quotes": lambda: page("<blockquote>" * 50_000 + "Call Ana."),
    "a page of 20 MB": lambda: page("<p>Call Ana.</p>" * 1_300_000),
    "a page of unfinished tags": lambda: page("<a href='" * 60_000),
    "a page of 3 MB in one attribute": lambda: page(
        f"<p>Call Ana.</p><img src='data:image/png;base64,{'A' * 3_000_000}'>"
    ),
    "a body of 20 MB": lambda: b"Subject: Rent\r\n\r\n" + b"Call Ana. \r\n" * 1_700_000,
    "one line of 6 MB": lambda: b"Subject: Rent\r\n\r\n" + b"Call Ana. " * 600_000,
    "a line of 300,000 quote marks": lambda: b"Subject: Rent\r\n\r\n" + b"> " * 300_000,
    "lines that nearly are a quotation's head": lambda: (
        b"Subject: Rent\r\n\r\n" + b"On 2025 <a@b> wrote\r\n" * 15_000
    ),
    "a megabyte of delimiters": lambda: b"Subject: Rent\r\n\r\n" + b"-- \r\n" * 200_000,
    "an attachment of 24 MB": lambda: (
        b"Subject: Rent\r\nContent-Type: text/plain; name=a.txt\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(b"Call Ana. " * 1_750_000)
    ),
    "a million borders": lambda: (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 1_000_000
    ),
}


# For make soak: each takes a second or two, and another one of its kind is read by make test.
LONG = (
    *("ten thousand parts", "a header of 5 MB", "a name in 300,000 pieces", "an attachment of 24 MB"),
    *("a page of 20 MB", "a body of 20 MB", "a million borders", "fifty thousand quotes in quotes"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=pytest.mark.soak if name in LONG else ())
        for name, make in HOSTILE.items()
    ],
)
def test_hostile_mail_is_read_or_refused_within_memory_limits(make: Callable[[], bytes]) -> None:
    data = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        assert len(read_file(data).text.encode()) < len(data) + 40_000
    except NotConvertible as refusal:
        assert refusal.limit is None, "it was not refused for what it is, but ran into a limit"
        assert "Ana" not in str(refusal)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH


@each("make", HOSTILE.values())
def test_the_beginning_of_a_hostile_mail_is_read_without_another_process(
    make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.text.convert.read_apart", None)
    data = make()
    for size in (1_000, 32 * 1024):
        with contextlib.suppress(NotConvertible):
            assert len(read_raw(data[:size], fetch=True).text.encode()) < 40_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (nested(50), "[parts in parts, more than 20 deep; the rest was left out]"),
        (many_parts(150), "[the mail has more than 100 parts; the rest was left out]"),
        (page("<p>Call Ana.</p>" * 70_000), "[of a page in the mail only the first MB was read]"),
        (
            page("<div>" * 50_000),
            "[a page in the mail is nested too deeply: 50000 levels over",
        ),
        (b"Subject: Rent\r\n\r\n" + b"Call Ana. \r\n" * 9_000, "only the first 64 KB were read]"),
    ],
    ids=["depth", "parts", "page", "tangle", "text"],
)
def test_omitted_parts_of_a_hostile_mail_are_reported_in_the_text(data: bytes, said: str) -> None:
    text = read_raw(data).text
    assert text.startswith("Subject: Rent\n") and said in text


def test_a_mail_in_a_file_is_read_completely_or_refused() -> None:
    for data in (nested(50), many_parts(250), page("<div>" * 50_000)):
        with pytest.raises(NotConvertible):
            read_file(data)
    assert "words 149" in read_file(many_parts(150)).text


def test_a_mail_of_more_than_25_mib_is_refused() -> None:
    with pytest.raises(NotConvertible, match="more than 25 MiB"):
        read_letter(Letter(bodies=(LetterBody(data=b"a" * (25 * MIB + 1)),)))


def test_plain_text_is_read_instead_of_an_unreadable_page() -> None:
    message = EmailMessage()
    message.set_content("The rent is due on Friday.")
    message.add_alternative("<div>" * 50_000, subtype="html")

    assert read_file(bytes(message)).text == "The rent is due on Friday.\n"


def test_large_html_mail_is_read_in_a_separate_process_and_cut() -> None:
    rows = "<p>The rent is due.</p>" * 20_000
    in_parts = Letter(
        headers={"Subject": "Miete \udce4"}, bodies=(LetterBody(data=rows, media_type="text/html"),)
    )
    tracemalloc.start()
    found = read_letter(in_parts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    texts = ("\n\nThe rent is due.\nThe rent is due.", "\n\n[cut here: ")
    assert (found.media_type, [text in found.text for text in texts]) == ("message/rfc822", [True, True])
    assert most < 8 * MIB


def test_html_conversion_timeout_is_refused_with_the_limit_name() -> None:
    with pytest.raises(NotConvertible) as refusal:
        read_file(page("<p>Call Ana.</p>" * 1_300_000), ConvertLimits(seconds=0.1))
    assert refusal.value.limit == "convert_seconds"


def test_an_ordinary_mail_with_pictures_is_read_without_another_process() -> None:
    message = EmailMessage()
    message["Subject"] = "Rent"
    message.set_content("The rent is due on Friday.")
    for number in range(10):
        message.add_attachment(b"\x89PNG" * 10_000, maintype="image", subtype="png", filename=f"{number}.png")

    hostile = (nested(50), b"Content-Type: a" + b";b" * 9_000)
    assert [is_tame(data) for data in (bytes(message), *hostile)] == [True, False, False]


def test_html_bomb_attachment_is_named_and_the_mail_text_is_read() -> None:
    bomb = base64.b64encode(b"<div>" * 200_000).decode()
    data = (
        "Subject: Rent\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nCall Ana.\r\n"
        "--x\r\nContent-Type: text/html; name=a.html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        f"{bomb}\r\n--x--"
    )
    found = read_file(data.encode())
    assert (
        "\n\nCall Ana.\n\n[attachment: a.html, text/html, 977 KB, not read: nested too deeply" in found.text
    )


def test_inline_pictures_of_an_html_mail_do_not_count_towards_the_text_limit() -> None:
    picture = f"<img src='data:image/png;base64,{'A' * 4 * MIB}'>"
    found = read_raw(page(f"{picture}<p>The rent is due on Friday.</p>"))

    assert found.text == "Subject: Rent\n\nThe rent is due on Friday.\n"


def test_mail_with_an_oversized_content_header_is_refused() -> None:
    for field in (b"Content-Type: text/plain", b"content-disposition : attachment"):
        with pytest.raises(NotConvertible, match="a Content header of more than 8 KiB"):
            read_file(b"Subject: Rent\r\n" + field + b";a=\r\n b" * 9_000 + b"\r\n\r\nCall Ana.")


@each("kind", ["text/plain", "multipart/mixed", "message/rfc822", "text/csv; name=a.csv"])
def test_mail_with_an_invalid_charset_name_is_read(kind: str) -> None:
    data = f'Subject: Rent\r\nContent-Type: {kind}; charset="utf-\0"\r\n\r\nCall Ana, '.encode() + b"\xe9."
    assert "Rent" in read_raw(data).text
