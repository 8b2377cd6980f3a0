"""Pictures of text and scanned pages become text, by an extra; without it, they say what they need."""

import re
import sys

import pytest

from hub.base.version import command_to_add
from hub.text import pictures
from hub.text.convert import convert
from hub.text.files import ConvertLimits, NotConvertible, media_type_of
from tests.support import odd_files

SCANS = pytest.mark.skipif(not pictures.is_installed(), reason="needs the extra [ocr]")
LINES = (
    "Minutes of 6 January 2025",
    "Anna must send the plan to Bob by Friday, 10 January 2025.",
    "It rained all day, and we went home early.",
    "Total: 1,234.50 EUR (ref K-0007)",
)
TEXT = "".join(f"{line}\n" for line in LINES)


@pytest.mark.slow
@SCANS
@pytest.mark.parametrize(
    ("kind", "degrees", "noise"),
    [
        ("PNG", 3, 0.2),
        *(
            pytest.param(kind, degrees, noise, marks=pytest.mark.soak)
            for kind, degrees, noise in (
                ("JPEG", -5, 0.1),
                ("PNG", 90, 0.1),
                ("JPEG", 180, 0),
                ("PNG", 270, 0.1),
            )
        ),
    ],
)
def test_scan_is_read_in_every_rotation(kind: str, degrees: float, noise: float) -> None:
    from tests.support import scans

    data = scans.saved(kind, scans.page(LINES, degrees=degrees, noise=noise))
    read = convert(data, path=f"scan.{kind.lower()}")

    assert (read.text, read.media_type) == (TEXT, f"image/{kind.lower()}")


@pytest.mark.soak
@SCANS
@pytest.mark.parametrize("kind", ["PDF", "TIFF"])
def test_each_page_of_a_scan_begins_with_the_page_number(kind: str) -> None:
    from tests.support import scans

    data = scans.saved(kind, scans.page(LINES[:2]), scans.page(()), scans.page(LINES[2:], degrees=90))

    assert convert(data, path=f"scan.{kind.lower()}").text == (
        "[page 1]\n" + "".join(f"{line}\n" for line in LINES[:2]) + "\n"
        "[page 3]\n" + "".join(f"{line}\n" for line in LINES[2:])
    )


@pytest.mark.soak
@SCANS
def test_scanned_pages_are_added_to_the_text_of_a_pdf() -> None:
    assert convert(odd_files.pdf("Call Ana."), path="a.pdf").text.strip() == "Call Ana."


@pytest.mark.soak
@SCANS
@pytest.mark.parametrize("damage", ["cut", "noise", "bomb", "blank", "no time"])
def test_unreadable_picture_is_refused_with_the_reason(damage: str) -> None:
    from PIL import Image

    from tests.support import scans

    whole = scans.saved("PNG", scans.page(LINES))
    data, limits, why = {
        "cut": (whole[: len(whole) // 2], ConvertLimits(), "damaged, or not really a picture"),
        "noise": (bytes(range(256)) * 100, ConvertLimits(), "damaged, or not really a picture"),
        "bomb": (
            scans.saved("PNG", Image.new("1", (30_000, 30_000))),
            ConvertLimits(),
            "more than 100 million",
        ),
        "blank": (scans.saved("PNG", scans.page(())), ConvertLimits(), "no text could be seen in it"),
        "no time": (whole, ConvertLimits(seconds=0.05), "not read within"),
    }[damage]
    with pytest.raises(NotConvertible, match=why):
        convert(data, path="a.png", limits=limits)


def test_picture_without_the_ocr_extra_is_refused_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(NotConvertible, match=re.escape(f"needs the extra [ocr]: {command_to_add('ocr')}")):
        convert(b"\x89PNG", path="a.png")
    assert pictures.limits_for(media_type_of("a.png"), ConvertLimits()) == ConvertLimits()
