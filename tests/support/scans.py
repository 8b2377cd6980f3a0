"""Pages of text as a scanner delivers them: 150 dpi, turned by some degrees or by a quarter, and noisy."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

DPI = 150
_WIDTH, _HEIGHT = 1_240, 1_754  # A4
_MARGIN, _LINE, _FONT = 110, 52, 22  # 11 points


def page(lines: Sequence[str], *, degrees: float = 0, noise: float = 0) -> Image.Image:
    """Return a page with *lines*, turned against the clock; *noise* is a share of the picture."""
    picture = Image.new("L", (_WIDTH, _HEIGHT), 250)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    for nth, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + nth * _LINE), line, font=font, fill=25)
    if degrees:
        picture = picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=250)
    if noise:
        picture = Image.blend(picture, Image.effect_noise(picture.size, 80), noise)
    return picture


def saved(kind: str, *pages: Image.Image) -> bytes:
    """Return a file of *kind* (PNG, JPEG, TIFF, PDF); only the last two have several pages."""
    file = io.BytesIO()
    first, *others = (one.convert("RGB") if kind == "PDF" else one for one in pages)
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(file, kind, resolution=DPI, dpi=(DPI, DPI), **more)
    return file.getvalue()
