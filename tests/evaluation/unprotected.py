"""The same files read as one would read them first: by the library, in the process that asked.

``python -m tests.evaluation.unprotected FOLDER`` prints how much memory, in MiB, it has
taken at most beyond what it began with; it dies where that is more than MOST_MIB.
"""

import contextlib
import re
import resource
import sys
from pathlib import Path

from hub.text import office
from hub.text.files import OFFICE, NotConvertible, media_type_of

MOST_MIB = 2_048  # with twelve gigabytes it dies all the same, only later


def main(folder: Path) -> None:
    """Read every office and pdf file of *folder*."""
    office.warm("application/pdf")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MIB << 20, MOST_MIB << 20))
    began = _status("VmRSS")
    for path in sorted(folder.iterdir()):
        kind = media_type_of(path.name)
        if kind in OFFICE:
            with contextlib.suppress(NotConvertible):
                office.read(path.read_bytes(), kind)
    print(f"{_status('VmHWM') - began:.0f}")


def _status(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
