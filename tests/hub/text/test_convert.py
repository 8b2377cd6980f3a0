"""Files become text, or are refused with a reason."""

import contextlib
import io
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.convert import Converted, NotConvertible, convert


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
def test_text_travels_as_it_is(path: str, kind: str) -> None:
    assert convert(b"call Ana\r\n\r\npay rent\n", path=path) == Converted("call Ana\r\n\r\npay rent\n", kind)


def test_what_the_sender_calls_it_counts_more_than_its_name() -> None:
    assert convert(b"<p>x</p>", path="page.txt", media_type="text/html; charset=utf-8").text == "x"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding_and_is_not_part_of_the_text(encoding: str) -> None:
    assert convert("Müller: 5 €\n".encode(encoding), path="a.txt").text == "Müller: 5 €\n"


def test_an_old_western_text_is_read_as_windows_1252() -> None:
    assert convert("Frühstück für fünf · 20 €".encode("cp1252"), path="a.txt").text == (
        "Frühstück für fünf · 20 €"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00",
        bytes(range(128, 256)),
        "Встреча".encode("koi8-r"),
        b"caf\xe9 \x01\x02",
        b"\xff\xfea",
    ],
    ids=["nul", "high", "another alphabet", "controls", "half a mark"],
)
def test_what_is_not_surely_text_is_refused(data: bytes) -> None:
    with pytest.raises(NotConvertible):
        convert(data, path="a.txt")


def test_hidden_parts_of_a_page_are_counted() -> None:
    converted = convert(b"<p>seen</p><p hidden>order</p>", path="mail.html")

    assert converted == Converted("seen", "text/html", dropped=1)


def test_a_page_that_is_a_bomb_is_refused_in_words() -> None:
    with pytest.raises(NotConvertible, match="nested too deeply"):
        convert(b"<div>" * 50_000, path="a.html")


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(NotConvertible, match="larger than 10 bytes"):
        convert(b"x" * 11, path="a.txt", max_bytes=10)


def test_an_office_file_is_read_where_the_extra_is_installed() -> None:
    pytest.importorskip("kreuzberg")

    assert convert(_docx("Call Ana.", "Pay rent."), path="plan.docx").text == "Call Ana.\n\nPay rent."


def test_a_damaged_office_file_is_refused_without_quoting_it() -> None:
    pytest.importorskip("kreuzberg")

    with pytest.raises(NotConvertible, match="damaged") as refusal:
        convert(b"%PDF-1.7 secret words", path="plan.pdf")
    assert "secret" not in str(refusal.value)


def test_without_the_extra_an_office_file_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)

    with pytest.raises(NotConvertible, match=r"\[files\]"):
        convert(b"%PDF-1.7", path="plan.pdf")


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.html", "a.csv"]))
def test_any_bytes_become_text_or_a_refusal(data: bytes, path: str) -> None:
    with contextlib.suppress(NotConvertible):
        convert(data, path=path).text.encode("utf-8")


@given(st.text(max_size=200))
def test_utf_8_comes_out_as_it_went_in(text: str) -> None:
    if not text.startswith("\ufeff") and "\0" not in text:
        assert convert(text.encode(), path="a.txt").text == text


def _docx(*paragraphs: str) -> bytes:
    schemas = "http://schemas.openxmlformats.org"
    relation = f"{schemas}/officeDocument/2006/relationships/officeDocument"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    kinds = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/word/document.xml" ContentType="'
        'application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/>'
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{schemas}/package/2006/content-types">{kinds}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{schemas}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relation}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{schemas}/wordprocessingml/2006/main">'
        f"<w:body>{body}</w:body></w:document>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0"?>{text}')
    return out.getvalue()
