"""Extras of the package are optional: what is installed without them imports."""

import subprocess
import sys
from typing import Final

import pytest

from tests.support.source import modules_of_the_product

EXTRAS: Final = {
    "asyncpg",
    "kreuzberg",
    "nats",
    "onnxruntime",
    "pypdfium2",
    "rapidocr",
    "uvloop",
    "xllamacpp",
}
NEED_AN_EXTRA: Final = {"hub.cluster.bus"}
IMPORT_ALL: Final = """
import sys
from importlib import import_module

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
failed = []
for name in sys.argv[2].split():
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        failed.append(f"{name} needs {error.name}")
print(failed)
"""


@pytest.mark.slow  # the import of all modules takes three seconds
def test_modules_import_without_the_extras_of_the_package() -> None:
    names = [
        module.name
        for module in modules_of_the_product()
        if "migrations" not in module.name
        and not module.name.endswith("_main")
        and module.name != "hub.__main__"
    ]
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(sorted(EXTRAS)), " ".join(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([f"{name} needs nats" for name in sorted(NEED_AN_EXTRA)])
