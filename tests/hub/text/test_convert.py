"""Files become text, or are refused with a reason."""

import contextlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.convert import convert
from hub.text.files import Converted, ConvertLimits, NotConvertible
from tests.support.families import each
from tests.support.odd_files import docx, docx_of_table, pdf

WESTERN = ("Größe: 5 µm, 20 °C, à l'été : 3 €", "Frühstück für fünf · 20 €")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("notes.txt", "text/plain"),
        ("todo.md", "text/markdown"),
        ("Rows.CSV", "text/csv"),
        ("week.ics", "text/calendar"),
        ("data.json", "application/json"),
        ("README", "text/plain"),
    ],
)
def test_text_file_is_converted_unchanged(path: str, kind: str) -> None:
    assert convert(b"call Ana\r\n\r\npay rent\n", path=path) == Converted("call Ana\r\n\r\npay rent\n", kind)


def test_media_type_counts_more_than_the_file_name() -> None:
    assert convert(b"<p>x</p>", path="page.txt", media_type="text/html; charset=utf-8").text == "x"


@each("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_determines_the_encoding_and_is_not_part_of_the_text(encoding: str) -> None:
    converted = convert("Müller: 5 €\n".encode(encoding), path="a.txt")
    assert (converted.text, converted.guessed) == ("Müller: 5 €\n", None)


def test_broken_bytes_of_utf_8_are_replaced_and_a_text_of_another_encoding_is_read_or_refused() -> None:
    cases = {
        "Müller kauft Äpfel, viele".encode() + b" \xc3 und Brot": "Müller kauft Äpfel, viele \ufffd und Brot",
        "Ich muss Jörg anrufen.".encode() + b"\n\xa9": "Ich muss Jörg anrufen.\n\ufffd",
        b"a long line of plain words and one bad byte \xff here": (
            "a long line of plain words and one bad byte \ufffd here"
        ),
        **{text.encode("cp1252"): text for text in WESTERN},
        b"SUMMARY:Ces\xc3\r\n \xa1rea calls": "SUMMARY:Ces\u00e1rea calls",
    }
    assert {data: convert(data, path="a.txt").text for data in cases} == cases
    for data in (b"call \xff\xfe\x81 Ana", bytes(range(128, 256))):
        with pytest.raises(NotConvertible, match="in no encoding that could be detected"):
            convert(data, path="a.txt")


GUESSED = {
    "cp1252": "Liste für Käthe\r\nDie Gläser spülen, Brötchen kaufen: 3 €.\r\n",
    "mac_roman": "Dîner chez Chloé\rApporter le pâté et la crème brûlée.\r",
    "cp1250": "Paweł i Łukasz przyjdą w sobotę, kupić świeże bułki. Petr nám pošle klíče.\n",
    "cp1251": "Скоро приедут внуки: помыть двери, купить хлеб.\n",
    "koi8-r": "мама просила забрать ключи\n",
    "cp866": "Список вещей\n══════════\n- помыть двери\n",
    "cp850": "Übung: für Käthe Äpfel, Öl und Brötchen kaufen.\r\nÇa va à Noël\r\n",
    "gbk": "记得给妈妈打电话。\r\n- 明天取包裹\r\n",
    "big5": "記得打電話給媽媽。\n明天到郵局領包裹\n",
    "utf-16-le": "Ana phones\r\nЮля несёт чай 😀\r\n",
    "utf-16-be": "下周三开会\n",
}


@each("encoding", GUESSED)
def test_text_without_a_byte_order_mark_is_read_in_the_most_plausible_encoding(encoding: str) -> None:
    converted = convert(GUESSED[encoding].encode(encoding), path="a.txt")
    assert converted.text == GUESSED[encoding]
    assert GUESSED[encoding].encode(converted.guessed or "") == GUESSED[encoding].encode(encoding)


@each("fields", ["", "Content-Type: text/plain; charset=x-none\n", "Content-Type: text/html\n"])
def test_guessed_encoding_of_a_mail_is_named(fields: str) -> None:
    body = "Скоро приедут внуки: помыть двери, купить хлеб.\n".encode("koi8-r")
    mail = f"From: Ana <ana@x.example>\nDate: Mon, 1 Mar 2027 09:00:00 +0000\n{fields}\n".encode() + body
    first, last = b"Subject: A\nContent-Type: multipart/mixed; boundary=x\n\n--x\n", b"\n--x--\n"
    inner, named = b"Content-Type: message/rfc822\n\n", b"Content-Type: text/plain; name=a.txt\n\n"
    mbox = b"From ana@x.example Mon Mar  1 09:00:00 2027\n"
    for name, data in (
        ("a.eml", mail),
        ("a.eml", first + inner + mail + last),
        ("a.eml", first + named + body + last),
        ("a.mbox", mbox + mail),
    ):
        assert convert(data, path=name).guessed == "koi8_r"
    known = mail.replace(b"\n\n", b"\nContent-Type: text/plain; charset=koi8-r\n\n", 1)
    assert convert(known, path="a.eml").guessed == ("koi8_r" if fields else None)


@each(
    ("path", "data", "why"),
    [
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00", None),
        ("a.txt", bytes(range(128, 256)), None),
        ("a.txt", b"caf\xe9 \x01\x02", None),
        ("a.txt", b"\xff\xfea", None),
        ("a.txt", b"x" * 100_001, "larger than 100000 bytes"),
        ("a.html", b"<div>" * 20_000, "nested too deeply"),
    ],
)
def test_binary_bomb_or_too_large_file_is_refused(path: str, data: bytes, why: str | None) -> None:
    with pytest.raises(NotConvertible, match=why):
        convert(data, path=path, limits=ConvertLimits(bytes=100_000))


def test_hidden_parts_of_a_page_are_counted_in_the_own_process_and_in_another_process() -> None:
    page = b"<p>seen</p><p hidden>order</p>"
    assert convert(page, path="mail.html") == Converted("seen", "text/html", dropped=1)
    large = convert(page + b"<p>and so on</p>" * 5_000, path="a.html")
    assert (large.text[:15], large.media_type, large.dropped) == ("seen\nand so on\n", "text/html", 1)


@each(
    ("path", "data", "text"),
    [
        ("plan.pdf", pdf("Call Ana.", "Pay rent."), "Call Ana.\n\nPay rent."),
        (
            "plan.docx",
            docx_of_table(("Task", "Who"), ("Call Ana", ""), ("Pay", "Bo | Co")),
            "Before.\n\n| Task | Who |\n|---|---|\n| Call Ana |  |\n| Pay | Bo \\| Co |\n\nAfter.",
        ),
        (
            "plan.docx",
            docx("Öl.</w:t></w:r><w:r><w:rPr><w:strike/></w:rPr><w:t>Größe messen.", "Ende."),
            "Öl.~~Größe messen.~~\n\nEnde.",
        ),
        ("plan.docx", docx_of_table(("A frame",), ("Call Ana.",)), "Before.\n\nA frame\nCall Ana.\n\nAfter."),
    ],
)
def test_office_and_pdf_files_are_read_where_the_extra_is_installed(
    path: str, data: bytes, text: str
) -> None:
    pytest.importorskip("kreuzberg")

    assert convert(data, path=path).text == text


@each(
    ("data", "why"),
    [(b"%PDF-1.7 secret words", "damaged"), (pdf(" "), "no text could be found in it")],
)
def test_a_damaged_or_empty_pdf_is_refused_without_a_quote(data: bytes, why: str) -> None:
    pytest.importorskip("kreuzberg")
    with pytest.raises(NotConvertible, match=why) as refusal:
        convert(data, path="plan.pdf")
    assert "secret" not in str(refusal.value)


def test_office_file_without_the_files_extra_is_refused_with_the_extra_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)

    with pytest.raises(NotConvertible, match=r"\[files\]"):
        convert(b"%PDF-1.7", path="plan.pdf")


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.html", "a.csv", "a.eml"]))
def test_any_bytes_become_text_or_a_refusal(data: bytes, path: str) -> None:
    with contextlib.suppress(NotConvertible):
        convert(data, path=path).text.encode("utf-8")


@given(st.text(max_size=200))
def test_utf_8_text_is_converted_unchanged(text: str) -> None:
    if not text.startswith("\ufeff") and "\0" not in text:
        assert convert(text.encode(), path="a.txt").text == text
