"""Conversion of office and pdf files by kreuzberg, if the extra ``[files]`` is installed.

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
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from hub.text.files import OFFICE, PDF, NotConvertible, kind_of

# Below $TMPDIR, where kreuzberg unpacks the library.
_LIBRARY: Final = Path("kreuzberg-pdfium", "libpdfium.so")
# Smallest file that makes kreuzberg load its pdf library; whether the page is valid does not matter.
LEAST_PDF: Final = (
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
        raise NotConvertible(
            "this kind of file needs the extra [files]: pip install 'device-hub[files]'"
        ) from error
    module: ModuleType = kreuzberg
    return module


def read(data: bytes, media_type: str, *, scanned: str = "") -> str:
    """Return the text of an office or pdf file, with blank lines between paragraphs, and pipes in tables.

    Args:
        scanned: text of its scanned pages, which is added.

    Raises:
        NotConvertible: no text could be read.
    """
    kreuzberg = require()
    settings = kreuzberg.ExtractionConfig(
        use_cache=False, enable_quality_processing=False, output_format="plain"
    )
    try:
        extracted = kreuzberg.extract_bytes_sync(data, media_type, settings)
    except kreuzberg.KreuzbergError as error:
        # The full message may quote the document, but the reason is sent to the hub.
        raise NotConvertible(
            f"damaged, locked with a password, or not really {kind_of(media_type)}"
        ) from error
    text = _with_pipes(extracted.content, [table.cells for table in extracted.tables])
    if not (text.strip() or scanned):
        raise NotConvertible(
            "no text could be found in it; if its pages are scanned, install the extra [ocr]: "
            "pip install 'device-hub[ocr]'"
        )
    return "\n\n".join(part for part in (text if text.strip() else "", scanned) if part)


def _with_pipes(text: str, tables: Sequence[Sequence[Sequence[str]]]) -> str:
    """Return *text* with pipes between the cells of its tables, which only blanks divide otherwise."""
    view, at = list[str](), 0
    for rows in tables:
        block = "\n".join(" ".join(cells) for cells in rows)
        plain = block.rstrip()  # as at the end of a file
        start = text.find(plain, at)
        # A single column or row is a frame around a text rather than a table.
        if start < 0 or not plain or min(len(rows), len(rows[0])) < 2:
            continue
        lines = ["| " + " | ".join(map(_in_a_cell, cells)) + " |" for cells in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        view += (text[at:start], "\n".join(lines))
        at = start + len(block if text.startswith(block, start) else plain)
    return "".join([*view, text[at:]])


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def warm(media_type: str) -> None:
    """Load all libraries needed for a file of this type, or for a mail with such an attachment.

    Raises:
        NotConvertible: the converter is not installed.
    """
    require()
    if media_type == PDF or media_type not in OFFICE:
        with contextlib.suppress(NotConvertible):
            read(LEAST_PDF, PDF)


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
