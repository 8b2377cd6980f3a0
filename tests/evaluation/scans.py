"""Scans through a real hub and a real device: planted sentences on pages that the test prints and scans.

Needs the extra ``[ocr]``. The pages have 150 dpi, lie askew, sideways or upside down, and are noisy.
"""

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from hub.app.calibration import Lots
from hub.text import pictures
from tests.evaluation import documents
from tests.evaluation.figures import Figure, Told, at_least, at_most, exactly, only
from tests.evaluation.speech import found_items, write_bytes
from tests.scenarios.scene import scene
from tests.support.oracle import Oracle
from tests.support.processes import SETTINGS

_FACTS, _LINES = 6, 16  # of a page
_FILLER: Final = "We met at nine, and it rained until we went home."
_SCANS: Final = (  # kind, and degrees and noise of each page
    ("PNG", ((0, 0),)),
    ("PNG", ((2, 0.15),)),
    ("JPEG", ((-3, 0.2),)),
    ("JPEG", ((5, 0.1),)),
    ("PNG", ((90, 0.1),)),
    ("PNG", ((180, 0.15),)),
    ("JPEG", ((270, 0.1),)),
    ("TIFF", ((1, 0.1), (-2, 0.2))),
    ("PDF", ((0, 0.1), (3, 0.2), (180, 0))),
)


class _Printed(NamedTuple):
    path: str
    line: int  # of the text, the first is 1


async def measure(told: Told) -> list[Figure]:
    """Read all scans in one run; then the unchanged folder again."""
    from tests.support import scans

    if not pictures.is_installed():
        raise SystemExit("the extra [ocr] is missing: pip install -r requirements-ocr.txt")
    expected: dict[str, _Printed] = {}
    with tempfile.TemporaryDirectory() as folder:
        endings = 'file_extensions = [".png", ".jpeg", ".tiff", ".pdf"]\n'
        async with scene(Path(folder), {}, oracle=Oracle(), settings=endings) as play:
            for nth, (kind, pages) in enumerate(_SCANS):
                name, printed, before = f"scan{nth}.{kind.lower()}", [], 0
                for number, (degrees, noise) in enumerate(pages):
                    facts = list(
                        documents.facts(1_000 * nth + 100 * number, _FACTS, Lots(f"{name}-{number}"))
                    )
                    lines = [_FILLER] * _LINES
                    before += len(pages) > 1 or kind == "PDF"  # the line of the page's number
                    for at, (title, sentence) in enumerate(facts):
                        lines[2 * at + 1] = sentence
                        expected[title] = _Printed(f"notes/{name}", before + 2 * at + 2)
                    before += _LINES + 1  # and a blank line
                    printed.append(scans.page(lines, degrees=degrees, noise=noise))
                write_bytes(folder, name, scans.saved(kind, *printed))
            await play.device.start()
            await play.has_connected()
            run = await play.hub.ended(await play.hub.start_run(), within_s=900)
            found = await found_items(play)
            again = await play.hub.ended(await play.hub.start_run(), within_s=60)
    unread = [unit["path"] for unit in run["units"] if unit["state"] != "DONE"]
    told(f"run: {run['state']}/{run['outcome']}, then {again['state']}/{again['outcome']}; unread {unread}")
    titles = [item.title for item in found]
    for title in sorted(expected.keys() - set(titles)):
        told(f"MISSED {expected[title].path}: {title}")
    for title in sorted(set(titles) - expected.keys()):
        told(f"MISREAD {title}")
    placed = sum(item.title in expected and (item.path, item.line) == expected[item.title] for item in found)
    known = sum(title in expected for title in titles)
    return [
        at_least(f"recall of {len(expected)} facts on {len(_SCANS)} scans", known / len(expected), 0.95),
        at_most("share of items with misread titles", 1 - known / max(1, len(titles)), 0.05),
        exactly("items that came twice", len(titles) - len(set(titles))),
        at_least("share of items at the line on which they are printed", placed / max(1, known), 0.95),
        only("files", f"{len(_SCANS)}"),
    ]


assert SETTINGS.rstrip().endswith('"'), "the table of the agent is the last one"
