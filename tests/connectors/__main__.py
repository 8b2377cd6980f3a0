"""``python -m tests.connectors``: our connectors against servers of others, which npm installs first.

Exit code 1 when something does not hold, 69 when a server cannot be installed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.connectors.software import ASKED, SOFTWARE, install
from tests.support.programs import CannotInstall, cache_folder

_UNAVAILABLE: Final = 69


def main() -> int:
    """Install, then test."""
    parser = argparse.ArgumentParser(prog="python -m tests.connectors", description=__doc__)
    parser.add_argument(
        "--cache", type=Path, default=cache_folder("connector-check"), help="folder of the servers"
    )
    cache: Path = parser.parse_args().cache
    print(f"installing into {cache}, unless it is there", flush=True)
    try:
        home = install(cache)
    except CannotInstall as missing:
        print(f"connector-check: {missing}", file=sys.stderr)
        return _UNAVAILABLE
    os.environ |= {ASKED: "1", SOFTWARE: str(home)}
    command = [sys.executable, "-m", "pytest", "-n0", "-v", "-rs", str(Path(__file__).parent)]
    ended = subprocess.run(command, check=False)
    return min(ended.returncode, 1)


if __name__ == "__main__":
    sys.exit(main())
