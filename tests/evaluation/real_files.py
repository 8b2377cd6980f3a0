"""The rules alone on files that programs have installed: what they suggest is hardly ever anybody's task.

Documentation, licences, change logs, test data and source code of the interpreter, of its packages and of
this machine; but no calendars and no files named TODO, which are what they say. The figure differs between
machines: compare it before and after a change on one of them.
"""

import hashlib
import site
import sysconfig
from collections import Counter
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models
from hub.text.convert import convert
from hub.text.files import NotConvertible, is_named
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, at_most, only

_ROOTS: Final = (
    sysconfig.get_path("stdlib"),
    *site.getsitepackages(),
    "/usr/share/doc",
    "/usr/lib/node_modules",
)
_FILES: Final = 2_000
_MAX_OF_ENDING: Final = 400
_BYTES: Final = range(200, 64 * 1024)
_ALSO: Final = (".py", ".c", ".js", "")  # source code, and names such as LICENSE
_MAX_FALSE: Final = 2.0  # of 100 files


async def measure(told: Told) -> list[Figure]:
    """Items of 100 files."""
    extractor = Extractor(Models(), secret=bytes(32))
    options = ExtractionOptions(data_types=tuple(TABLES), timezone="UTC")
    found, files, refused = Counter[str](), Counter[str](), 0
    for path in _chosen():
        ending = path.suffix.lower()
        files[ending] += 1
        try:
            converted = convert(path.read_bytes(), path=path.name)
        except NotConvertible:
            refused += 1
            continue
        document = Document(
            unit_key=path.name,
            text=converted.text,
            content_hash="",
            media_type=converted.media_type,
            modified_at=converted.date or datetime.fromtimestamp(path.stat().st_mtime, UTC),
        )
        items = [item for item in (await extractor.extract(document, options)).items if not item.is_done]
        found[ending] += len(items)
        for item in items:
            told(f"{path}: {item.table}: {item.quote!r}")
    for ending, count in files.most_common():
        told(f"{ending or 'no ending':10} files {count}  items {found[ending]}")
    total = files.total()
    return [
        only("files", f"{total} ({refused} refused)"),
        at_most("items of 100 files", 100 * found.total() / max(total, 1), _MAX_FALSE, ".1f"),
    ]


def _chosen() -> list[Path]:
    """Return the same files of a machine each time: so many of each ending, in an order without meaning."""
    paths = chain.from_iterable(Path(root).rglob("*") for root in _ROOTS)
    known = {path for path in paths if is_named(path.name) or path.suffix in _ALSO}
    known -= {path for path in known if path.suffix == ".ics" or path.stem.upper() == "TODO"}
    sized = (path for path in known if path.is_file() and path.stat().st_size in _BYTES)
    by_chance = sorted(sized, key=lambda path: hashlib.sha256(str(path).encode()).digest())
    endings = Counter[str]()

    def is_wanted(path: Path) -> bool:
        endings[path.suffix.lower()] += 1
        return endings[path.suffix.lower()] <= _MAX_OF_ENDING

    return list(islice(filter(is_wanted, by_chance), _FILES))
