"""Text recognition (OCR) in pictures and scanned PDF pages (extra ``[ocr]``): which pages count as scans.

The models are in the wheel of RapidOCR, so nothing is loaded from elsewhere. They know Latin and Chinese
script. Lines of a page are in reading order. A page that was scanned sideways or upside down is turned: its
lines are vertical, or hardly any character is certain. A page of hardly any text is a scan. Pages of a scan
begin with their number::

    [page 3]
    Anna must send the plan by Friday.

Only ``hub.text.worker_main`` calls it, in a separate process.
"""

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hub.base.version import command_to_add
from hub.text.files import MIB, PDF, PICTURES, ConvertLimits, NotConvertible

if TYPE_CHECKING:
    from PIL.Image import Image

MEMORY_BYTES: Final = 1_536 * MIB  # address space of the libraries, models and a page, beside Python itself
SECONDS_FACTOR: Final = 5.0  # a page takes seconds; so a scan may take as much longer than other files

_MAX_PAGES: Final = 500
_MAX_PIXELS: Final = 100_000_000  # of one picture; a page at 600 dpi has 35 million
_MAX_SIDE: Final = 2_400  # pixels; larger pictures are reduced
_DPI: Final = 150
_MIN_CHARS: Final = 8  # of the text layer of a page; a scan may have a stamp or a page number
_MODULES: Final = ("rapidocr", "onnxruntime", "pypdfium2")
TO_ADD_OCR: Final = command_to_add("ocr")  # read at import: a confined process cannot


def is_installed() -> bool:
    """Return True if pictures can be converted here; checked without an import."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in _MODULES)
    except ValueError:  # sys.modules has None for it, which blocks the import
        return False


def reads(kind: str) -> bool:
    """Return True if a file of this type is converted here, or its scanned pages are."""
    return (kind in PICTURES or kind == PDF) and is_installed()


def limits_for(kind: str, limits: ConvertLimits) -> ConvertLimits:
    """Return the limits for a file of this type: the engine needs more memory and time."""
    if not reads(kind):
        return limits
    return replace(
        limits,
        memory_bytes=limits.memory_bytes + MEMORY_BYTES,
        seconds=limits.seconds * SECONDS_FACTOR,
    )


def is_loaded() -> bool:
    """Return True if ``warm`` has loaded the engine: in a confined process nothing can be loaded later."""
    return _engine.cache_info().currsize > 0


def require() -> None:
    """Check that the extra is installed.

    Raises:
        NotConvertible: it is not.
    """
    if not is_installed():
        raise NotConvertible(f"a picture of text needs the extra [ocr]: {TO_ADD_OCR}")


def read(data: bytes) -> str:
    """Return the text of a picture; each frame of a TIFF is a page.

    Raises:
        NotConvertible: damaged, too large, or without text.
    """
    require()
    from PIL import Image, ImageOps, ImageSequence

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise Image.DecompressionBombError
            frames = getattr(picture, "n_frames", 1)
            if frames > _MAX_PAGES:
                raise NotConvertible(f"more than {_MAX_PAGES} pages")
            pages = [_text(ImageOps.exif_transpose(frame)) for frame in ImageSequence.Iterator(picture)]
    except Image.DecompressionBombError as error:
        most = _MAX_PIXELS // 1_000_000
        raise NotConvertible(f"a picture of more than {most} million pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise NotConvertible("damaged, or not really a picture") from error
    return _pages(dict(enumerate(pages, start=1)), has_numbers=len(pages) > 1)


def read_scans(data: bytes) -> str:
    """Return the text of the pages of a pdf that are pictures; empty if it has none.

    Raises:
        NotConvertible: locked or damaged, or too many such pages.
    """
    import pypdfium2

    pages: dict[int, str] = {}
    try:
        with contextlib.closing(pypdfium2.PdfDocument(data)) as document:
            for number in range(len(document)):
                page = document[number]
                if page.get_textpage().count_chars() < _MIN_CHARS:
                    if len(pages) == _MAX_PAGES:
                        raise NotConvertible(f"more than {_MAX_PAGES} scanned pages")
                    scale = min(_DPI / 72, _MAX_SIDE / max(page.get_size()))
                    pages[number + 1] = _text(page.render(scale=scale, grayscale=True).to_pil())
                page.close()
    except pypdfium2.PdfiumError as error:
        raise NotConvertible("damaged, or locked with a password") from error
    return _pages(pages, has_numbers=True) if any(pages.values()) else ""


def warm() -> None:
    """Load all that reading a picture or a pdf would load later, when no file can be opened any more.

    Raises:
        NotConvertible: the extra is not installed.
    """
    require()
    import pypdfium2
    from PIL import Image, ImageDraw

    Image.init()
    blank = Image.new("L", (320, 64), 255)
    ImageDraw.Draw(blank).text((10, 10), "Call Ana", fill=0, font_size=32)
    _text(blank)
    document = pypdfium2.PdfDocument.new()
    page = document.new_page(9, 9)
    page.get_textpage().count_chars()
    page.render(scale=1, grayscale=True).to_pil()
    document.close()


def _pages(pages: dict[int, str], *, has_numbers: bool) -> str:
    if not any(pages.values()):
        raise NotConvertible("no text could be seen in it")
    if not has_numbers:
        return "".join(pages.values())
    return "\n".join(f"[page {number}]\n{text}" for number, text in pages.items() if text)


class _PictureLine(NamedTuple):
    """Line of text. Place and height along the page, whatever the slope of its lines."""

    text: str
    score: float
    is_vertical: bool
    top: float
    left: float
    height: float


def _text(picture: "Image") -> str:
    """Return the lines of a page, turned if that makes it more certain."""
    from PIL import Image

    picture = picture.convert("RGB")
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    lines = _lines(picture)
    if lines and sum(line.is_vertical for line in lines) * 2 > len(lines):
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        lines = _lines(picture)
    if lines and _certainty(lines) < 0.9:  # mean score of a page that is not upside down
        turned = _lines(picture.transpose(Image.Transpose.ROTATE_180))
        lines = max(lines, turned, key=_certainty)
    return "".join(f"{text}\n" for text in _in_order(lines))


def _certainty(lines: list[_PictureLine]) -> float:
    """Return the mean score of a character."""
    chars = sum(len(line.text) for line in lines)
    return sum(line.score * len(line.text) for line in lines) / chars if chars else 0.0


def _in_order(lines: list[_PictureLine]) -> Iterator[str]:
    """Yield the rows of a page from the top; parts of a row, as in a table, are joined by two blanks."""
    row: list[_PictureLine] = []
    for line in sorted(lines, key=lambda line: line.top):
        if line.score < 0.5 or not line.text.strip():  # of a line
            continue
        if row and line.top - row[0].top > min(line.height, row[0].height) / 2:
            yield _joined(row)
            row = []
        row.append(line)
    if row:
        yield _joined(row)


def _joined(row: list[_PictureLine]) -> str:
    return "  ".join(line.text.strip() for line in sorted(row, key=lambda line: line.left))


def _lines(picture: "Image") -> list[_PictureLine]:
    import numpy

    # The engine expects the colours of OpenCV.
    result = _engine()(numpy.asarray(picture)[:, :, ::-1])
    if result.boxes is None or result.txts is None:
        return []
    boxes = numpy.asarray(result.boxes, dtype=float)  # four corners each, clockwise from the top left
    along = boxes[:, 1] - boxes[:, 0]
    down = boxes[:, 3] - boxes[:, 0]
    widths, heights = numpy.hypot(*along.T), numpy.hypot(*down.T)
    is_vertical = (numpy.abs(along[:, 1]) > numpy.abs(along[:, 0])) == (widths > heights)
    # Places are measured along the slope of the page, or rows of a sloping table would mix.
    slopes = numpy.arctan2(along[:, 1], along[:, 0])[widths > 2 * heights]
    slope = float(numpy.median(slopes)) if len(slopes) else 0.0
    middle = boxes.mean(axis=1)
    tops = middle[:, 1] * numpy.cos(slope) - middle[:, 0] * numpy.sin(slope)
    lefts = middle[:, 0] * numpy.cos(slope) + middle[:, 1] * numpy.sin(slope)
    return [
        _PictureLine(str(text), float(score), bool(vertical), float(top), float(left), float(height))
        for text, score, vertical, top, left, height in zip(
            result.txts, result.scores, is_vertical, tops, lefts, heights, strict=True
        )
    ]


@cache
def _engine() -> Any:
    """Return the OCR engine, without its classifier, which turns slightly sloping lines upside down."""
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(1)
    engine = "EngineConfig.onnxruntime"
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.max_side_len": _MAX_SIDE,
            "Det.limit_side_len": 960,
            "Det.limit_type": "max",
            f"{engine}.intra_op_num_threads": 1,
            f"{engine}.inter_op_num_threads": 1,
            f"{engine}.enable_cpu_mem_arena": False,
        }
    )
