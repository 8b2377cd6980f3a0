"""Conversion of office and PDF files to text (extra ``[files]``).

It is imported for the first such file: most devices never need its 98 MB. Nothing is cached on disk, nothing
leaves the process, images are not read. Only ``hub.text.worker_main`` calls it, in a separate process, as
these formats allow decompression bombs.
"""

import contextlib
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hub.base.version import command_to_add
from hub.text.files import OFFICE, PDF, NotConvertible, kind_of
from hub.text.pictures import TO_ADD_OCR

_TO_ADD_FILES: Final = command_to_add("files")  # read at import: a confined process cannot
# Below $TMPDIR, where kreuzberg unpacks the library.
_LIBRARY: Final = Path("kreuzberg-pdfium", "libpdfium.so")
# Smallest file that makes kreuzberg load its pdf library; whether the page is valid does not matter.
MIN_PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>"
)


def is_installed() -> bool:
    """Return True if office files can be converted here; checked without an import."""
    try:
        return importlib.util.find_spec("kreuzberg") is not None
    except ValueError:  # sys.modules has None for it, which blocks the import
        return False


def require() -> ModuleType:
    """Import the converter.

    Raises:
        NotConvertible: the converter is not installed.
    """
    try:
        import kreuzberg
    except ImportError as error:
        raise NotConvertible(f"this kind of file needs the extra [files]: {_TO_ADD_FILES}") from error
    module: ModuleType = kreuzberg
    return module


def read(data: bytes, media_type: str, *, scanned: str = "") -> str:
    """Return the text of an office or pdf file, with blank lines between paragraphs.

    Tables and lists of an office file are shown as in Markdown.

    Args:
        scanned: text of its scanned pages, which is added.

    Raises:
        NotConvertible: no text could be read.
    """
    kreuzberg = require()
    settings = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        output_format="plain",
        include_document_structure=media_type != PDF,
    )
    try:
        extracted = kreuzberg.extract_bytes_sync(data, media_type, settings)
    except kreuzberg.KreuzbergError as error:
        # The full message may quote the document, but the reason is sent to the hub.
        raise NotConvertible(
            f"damaged, locked with a password, or not really {kind_of(media_type)}"
        ) from error
    text = _marked(extracted.content, (extracted.document or {}).get("nodes", ()))
    if not (text.strip() or scanned):
        raise NotConvertible(
            f"no text could be found in it; if its pages are scanned, install the extra [ocr]: {TO_ADD_OCR}"
        )
    return "\n\n".join(part for part in (text if text.strip() else "", scanned) if part)


def _marked(text: str, nodes: Iterable[Mapping[str, Any]]) -> str:
    """Return *text* with marks of Markdown for tables, lists, and words that are struck through."""
    view, at = list[str](), 0
    for node in nodes:
        plain, shown = _shown(node)
        start = text.find(plain, at) if plain else -1
        if start >= 0:
            view += (text[at:start], shown)
            at = start + len(plain)
    return "".join([*view, text[at:]])


def _shown(node: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a part of a document, and the same with marks."""
    content = node["content"]
    if content["node_type"] == "table":
        cells = content["grid"]["cells"]
        rows = [[cell["content"] for cell in row] for _, row in groupby(cells, key=itemgetter("row"))]
        plain = "\n".join(" ".join(row) for row in rows).rstrip()
        if len(cells) == len(rows) or len(rows) < 2:  # a frame around a text
            return plain, plain
        cells_of = ((" ".join(cell.split()).replace("|", r"\|") for cell in row) for row in rows)
        lines = [f"| {' | '.join(cells)} |" for cells in cells_of]
        return plain, "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
    plain = content.get("text") or ""
    shown = plain.encode()  # whose bytes are counted
    for note in sorted(node.get("annotations", ()), key=itemgetter("start"), reverse=True):
        if note["kind"]["annotation_type"] == "strikethrough":
            start, end = note["start"], note["end"]
            shown = b"~~".join((shown[:start], shown[start:end], shown[end:]))
    return plain, ("- " if content["node_type"] == "list_item" else "") + shown.decode("utf-8", "replace")


def warm(media_type: str) -> None:
    """Load all libraries needed for a file of this type, or for a mail with such an attachment.

    Raises:
        NotConvertible: the converter is not installed.
    """
    require()
    if media_type == PDF or media_type not in OFFICE:
        with contextlib.suppress(NotConvertible):
            read(MIN_PDF, PDF)


def library_folder() -> Path:
    """Return a folder for the pdf library where no other user can plant a library.

    It is next to the installed packages if that folder is writable or has the library: under the systemd
    unit, code runs only from there. Otherwise it is a private folder among the temporary files.
    """
    ours = Path(sys.prefix, "share", "device-hub")
    with contextlib.suppress(OSError):
        ours.mkdir(mode=0o755, parents=True, exist_ok=True)
        if (ours / _LIBRARY).is_file() or os.access(ours, os.W_OK):
            return ours
    folder = Path(tempfile.gettempdir(), f"device-hub-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    info = folder.lstat()
    is_private = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077
    return folder if is_private else Path(tempfile.mkdtemp(prefix="device-hub-"))
