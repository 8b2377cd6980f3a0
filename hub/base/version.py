"""Version of this hub, and the install command for an extra."""

import re
import sys
from pathlib import Path
from typing import Final

VERSION: Final = "0.2.0"

# By the file that an installer of programs leaves in an environment. It makes the environment anew, so the
# command names the extras that are there too.
_INSTALLERS: Final = {
    "uv-receipt.toml": "uv tool install 'device-hub[{}]' --find-links {}",
    "pipx_metadata.json": "pipx install --force 'device-hub[{}]' --pip-args='--find-links {}'",
}
_PIP: Final = "pip install 'device-hub[{}]' --find-links {}"
_WHEELS: Final = "FOLDER-OF-WHEELS"  # a path would tell others where this installation is: reasons are sent
_EXTRAS: Final = {"local", "engine", "files", "ocr", "cluster", "fast", "mcp"}
_LISTED: Final = re.compile(
    r'\[([\w", ]+)\]'
)  # of a requirement: [files,ocr]; of a table of TOML: ["files", "ocr"]


def command_to_add(extra: str, *, environment: Path = Path(sys.prefix)) -> str:
    """Return the command that adds *extra*, of the installer that made the *environment*."""
    for name, command in _INSTALLERS.items():
        if (receipt := environment / name).is_file():
            listed = ",".join(_LISTED.findall(receipt.read_text("utf-8", "replace")))
            extras = _EXTRAS & set(re.findall(r"\w+", listed)) | {extra}
            return command.format(",".join(sorted(extras)), _WHEELS)
    return _PIP.format(extra, _WHEELS)
