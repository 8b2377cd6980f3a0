"""The extra [local] and the wheel of the weights belong together."""

import tomllib

from tests.release.weights import version_of_weights
from tests.support.source import ROOT


def test_extra_local_needs_the_weights_of_the_locked_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["local"] == [
        "device-hub[engine]",
        f"device-hub-weights=={version_of_weights()}",
    ]
