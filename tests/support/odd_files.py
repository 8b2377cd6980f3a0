"""Files that people have, and files built to hurt, made from nothing: office, pdf, bombs of both."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator

MIB = 1024 * 1024
_SCHEMAS = "http://schemas.openxmlformats.org"
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


def docx(*paragraphs: str) -> bytes:
    """A document of a word processor."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return _docx_of([_docx_head().encode(), body.encode(), _DOCX_TAIL])


def docx_of_table(*rows: tuple[str, ...]) -> bytes:
    """A document with a paragraph before a table and one behind it."""
    cells = "".join(
        f"<w:tr>{''.join(f'<w:tc><w:p><w:r><w:t>{cell}</w:t></w:r></w:p></w:tc>' for cell in row)}</w:tr>"
        for row in rows
    )
    before, after = (f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in ("Before.", "After."))
    body = f"{before}<w:tbl>{cells}</w:tbl>{after}"
    return _docx_of([_docx_head().encode(), body.encode(), _DOCX_TAIL])


def docx_bomb(unpacked_bytes: int) -> bytes:
    """One whose text unpacks to so many bytes, about a thousand times its size."""
    line = b"<w:p><w:r><w:t>" + b"boom " * 200 + b"</w:t></w:r></w:p>"
    return _docx_of([_docx_head().encode(), *[line] * (unpacked_bytes // len(line)), _DOCX_TAIL])


def docx_of_empty_parts(parts: int) -> bytes:
    """One with a great many files inside, each of nothing."""
    return _docx_of([docx_text("x")], extra=((f"word/part{n}.xml", b"") for n in range(parts)))


def docx_that_names_itself(levels: int) -> bytes:
    """One whose XML defines words by words by words: ten to the power of *levels*, if anybody unfolds it."""
    entities = "".join(
        f'<!ENTITY e{n} "{"&e" + str(n - 1) + ";" if n else "boom"}{(f"&e{n - 1};" * 9) if n else ""}">'
        for n in range(levels)
    )
    text = docx_text(f"&e{levels - 1};").decode()
    return _docx_of([text.replace(_XML, f"{_XML}<!DOCTYPE x [{entities}]>").encode()])


def docx_nested(levels: int) -> bytes:
    """One whose XML goes so many levels deep."""
    return _docx_of(
        [
            _docx_head().encode(),
            b"<w:tbl><w:tr><w:tc>" * levels,
            b"</w:tc></w:tr></w:tbl>" * levels,
            _DOCX_TAIL,
        ]
    )


def docx_text(text: str) -> bytes:
    return f"{_docx_head()}<w:p><w:r><w:t>{text}</w:t></w:r></w:p>".encode() + _DOCX_TAIL


def pdf(*pages: str) -> bytes:
    """A pdf with a line of text on each page."""
    return pdf_of(f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode() for page in pages)


def long_pdf(pages: int, lines: int = 40) -> bytes:
    """A report: *pages* of *lines* lines each."""
    return pdf_of(
        (
            "BT /F1 9 Tf 72 760 Td 11 TL "
            + " ".join(
                f"(Page {page} line {line}: Ana pays the rent of unit {page * lines + line} by Friday.) Tj T*"
                for line in range(lines)
            )
            + " ET"
        ).encode()
        for page in range(pages)
    )


def pdf_bomb(unpacked_bytes: int) -> bytes:
    """One page whose content unpacks to so many bytes."""
    show = b"(boom) Tj " * 1_000
    packer = zlib.compressobj(9)
    packed = [packer.compress(b"BT /F1 1 Tf ")]
    packed += [packer.compress(show) for _ in range(unpacked_bytes // len(show))]
    return _pdf([b"".join([*packed, packer.compress(b" ET"), packer.flush()])])


def locked_pdf() -> bytes:
    """One that wants a password."""
    key = b"<" + b"41" * 32 + b">"
    lock = b"<< /Filter /Standard /V 2 /R 3 /Length 128 /P -3904 /O " + key + b" /U " + key + b" >>"
    return _pdf(
        [zlib.compress(b"BT /F1 12 Tf (secret) Tj ET")], trailer=b"/Encrypt 9999 0 R ", extra={9999: lock}
    )


def circular_pdf() -> bytes:
    """One whose tree of pages bites its own tail."""
    return _pdf([zlib.compress(b"")]).replace(b"/Kids [5 0 R", b"/Kids [2 0 R")


def pdf_of(contents: Iterable[bytes]) -> bytes:
    return _pdf([zlib.compress(content, 6) for content in contents])


def broken(data: bytes) -> Iterator[bytes]:
    """*data* as accidents leave it: cut short, holed, or shuffled."""
    half = len(data) // 2
    yield data[:half]
    yield data[half:]
    yield data[: half - 50] + b"\0" * 100 + data[half + 50 :]
    yield bytes(byte ^ (0x5A if at % 97 == 13 else 0) for at, byte in enumerate(data))


_DOCX_TAIL = b"</w:body></w:document>"


def _docx_head() -> str:
    return f'{_XML}<w:document xmlns:w="{_SCHEMAS}/wordprocessingml/2006/main"><w:body>'


def _docx_of(document: Iterable[bytes], extra: Iterable[tuple[str, bytes]] = ()) -> bytes:
    kinds = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/word/document.xml" ContentType="'
        'application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/>'
    )
    relation = f"{_SCHEMAS}/officeDocument/2006/relationships/officeDocument"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_SCHEMAS}/package/2006/content-types">{kinds}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_SCHEMAS}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relation}" Target="word/document.xml"/></Relationships>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, text in parts.items():
            archive.writestr(name, _XML + text)
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for piece in document:
                part.write(piece)
        for name, data in extra:
            archive.writestr(name, data)
    return out.getvalue()


def _pdf(contents: list[bytes], *, trailer: bytes = b"", extra: dict[int, bytes] | None = None) -> bytes:
    """A pdf with one page per packed content stream."""
    pages = [5 + 2 * at for at in range(len(contents))]
    kids = b" ".join(b"%d 0 R" % page for page in pages)
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % len(pages),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }
    for page, content in zip(pages, contents, strict=True):
        objects[page] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (page + 1)
        )
        head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(content)
        objects[page + 1] = head + content + b"\nendstream"
    objects |= extra or {}
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    places = {}
    for number, body in sorted(objects.items()):
        places[number] = out.tell()
        out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
    start = out.tell()
    most = max(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % most)
    for number in range(1, most):
        out.write(b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 65535 f \n")
    out.write(b"trailer << /Size %d /Root 1 0 R " % most + trailer + b">>\nstartxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()
