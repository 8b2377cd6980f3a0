"""Bar 4: the place of every row of a device holds its quote, in whatever script and however the lines end.

The rows are compared with the text of the file that lies on its disk. Bar 1 has the same of what
extraction hands out.
"""

import tempfile
from pathlib import Path
from typing import Final

from tests.evaluation.documents import in_scripts, planted
from tests.evaluation.figures import Figure, Told, exactly
from tests.evaluation.stage import played, run
from tests.scenarios.scene import rows
from tests.support.oracle import oracle_process

_LONG: Final = 6
_QUOTED: Final = "SELECT source_path, quote, quote_start, quote_end FROM calls WHERE quote IS NOT NULL"


async def measure(told: Told) -> list[Figure]:
    """Long texts and many scripts, through a hub to a device."""
    chosen = [*planted(_LONG, seed=5), *in_scripts()]
    files = {f"{one.name}.txt": one.text for one in chosen}
    with tempfile.TemporaryDirectory() as folder:
        async with oracle_process() as oracle, played(Path(folder), files, oracle) as play:
            ended = await run(play)
            quoted = rows(play.device.database, _QUOTED)
    told(f"{len(files)} files, {ended['outcome']}")
    there = {f"notes/{name}": text for name, text in files.items()}
    wrong = sum(there[path][start:end] != quote for path, quote, start, end in quoted)
    return [
        exactly(f"rows of a device whose place does not hold their quote, of {len(quoted):,}", wrong),
        exactly("rows of that device", len(quoted), sum(len(one.titles) for one in chosen)),
    ]
