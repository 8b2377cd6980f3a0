"""Office and pdf files to text, by kreuzberg where the extra ``[files]`` is installed.

It is imported when the first such file comes: most devices never need its 98 MB.
Nothing is cached on disk, nothing leaves the process, pictures are not read. Only
``hub.text.worker_main`` calls it, in a process of its own: these formats are the
ones that bombs are made of.
"""

import contextlib
import importlib.util
import os
import stat
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Final

from hub.text.converted import NotConvertible
from hub.text.kinds import OFFICE, PDF, kind_of

_LIBRARY: Final = Path("kreuzberg-pdfium", "libpdfium.so")  # below $TMPDIR, where kreuzberg unpacks it
# The least that makes it load its pdf library; whether it is pleased with the page does not matter.
LEAST_PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>"
)


def is_installed() -> bool:
    """Whether this end can read such files; nothing is imported to find out."""
    try:
        return importlib.util.find_spec("kreuzberg") is not None
    except ValueError:  # it was put out of reach: sys.modules says None
        return False


def require() -> ModuleType:
    """The converter.

    Raises:
        NotConvertible: it is not installed.
    """
    try:
        import kreuzberg
    except ImportError as error:
        raise NotConvertible(
            "this kind of file needs the extra [files]: pip install 'device-hub[files]'"
        ) from error
    module: ModuleType = kreuzberg
    return module


def read(data: bytes, media_type: str) -> str:
    """The text of an office or pdf file; blank lines between its paragraphs.

    Raises:
        NotConvertible: nothing could be read.
    """
    kreuzberg = require()
    settings = kreuzberg.ExtractionConfig(
        use_cache=False, enable_quality_processing=False, output_format="plain"
    )
    try:
        text: str = kreuzberg.extract_bytes_sync(data, media_type, settings).content
    except kreuzberg.KreuzbergError as error:
        # Its message may quote the document, and the reason travels to the hub: the kind alone.
        raise NotConvertible(
            f"damaged, locked with a password, or not really {kind_of(media_type)}"
        ) from error
    if not text.strip():
        raise NotConvertible("no text could be found in it; pictures of text are not read")
    return text


def warm(media_type: str) -> None:
    """Load all that reading such a file, or a mail that has one attached, would load.

    Raises:
        NotConvertible: the converter is not installed.
    """
    require()
    if media_type == PDF or media_type not in OFFICE:
        with contextlib.suppress(NotConvertible):
            read(LEAST_PDF, PDF)


def library_folder() -> Path:
    """Where the pdf library is unpacked, which is then run: a folder that nobody else can put a file into.

    Beside the installed packages where that can be written, or was once: under the systemd unit
    nothing else may be run from. Else in a folder of this user's among the temporary files.
    """
    ours = Path(sys.prefix, "share", "device-hub")
    with contextlib.suppress(OSError):
        ours.mkdir(mode=0o755, parents=True, exist_ok=True)
        if (ours / _LIBRARY).is_file() or os.access(ours, os.W_OK):
            return ours
    folder = Path(tempfile.gettempdir(), f"device-hub-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder if _is_private(folder) else Path(tempfile.mkdtemp(prefix="device-hub-"))


def _is_private(folder: Path) -> bool:
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077
