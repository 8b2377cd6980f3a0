"""``python -m tests.connectors``: our connectors against servers of others, which npm installs first.

Exit code 1 when a test fails, 69 when they cannot be installed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.connectors.prism import SOFTWARE
from tests.connectors.software import CannotInstall, cache_folder, install

_UNAVAILABLE: Final = 69


def main() -> int:
    """Install, then test."""
    parser = argparse.ArgumentParser(prog="python -m tests.connectors", description=__doc__)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="where they are installed")
    cache: Path = parser.parse_args().cache
    print(f"installing into {cache}, unless it is there", flush=True)
    try:
        home = install(cache)
    except CannotInstall as missing:
        print(f"connector-check: {missing}", file=sys.stderr)
        return _UNAVAILABLE
    command = [sys.executable, "-m", "pytest", "-n0", "-v", str(Path(__file__).parent)]
    ended = subprocess.run(command, check=False, env=os.environ | {SOFTWARE: str(home)})
    return min(ended.returncode, 1)


if __name__ == "__main__":
    sys.exit(main())
