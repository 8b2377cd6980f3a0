"""The committed bundle of the dashboard is the one that its sources build."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hub.base.web.pages import BUNDLE

WEB = BUNDLE.parent
MAX_BYTES = 120 * 1024  # of all files, compressed
MAX_OF_CARD = 50 * 1024  # as it is: a result of a tool has 64 KiB at most


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules").exists(),
    reason="no node here, or its packages are not installed: make web",
)
def test_web_build_reproduces_the_committed_bundle(tmp_path: Path) -> None:
    checked = subprocess.run(
        ["npx", "--offline", "tsc"], cwd=WEB, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    subprocess.run(["node", "build.mjs", str(tmp_path / "dist")], cwd=WEB, check=True)
    built = {file.relative_to(tmp_path / "dist"): file for file in (tmp_path / "dist").rglob("*.*")}
    committed = {file.relative_to(BUNDLE): file for file in BUNDLE.rglob("*.*")}
    assert built.keys() == committed.keys(), "run 'make web'"
    for name, file in built.items():
        assert file.read_bytes() == committed[name].read_bytes(), f"{name}: run 'make web'"


def test_web_bundle_is_small_and_names_the_licence_of_each_package() -> None:
    files = [file.read_bytes() for file in BUNDLE.rglob("*.*")]
    assert sum(len(gzip.compress(file)) for file in files) <= MAX_BYTES
    packages = json.loads((BUNDLE / "manifest.json").read_bytes())["packages"]
    assert {one["name"]: one["licence"] for one in packages} == {
        "@preact/signals": "MIT",
        "@preact/signals-core": "MIT",
        "preact": "MIT",
    }


def test_card_is_a_single_small_file_without_external_references() -> None:
    card = (BUNDLE / "card.html").read_text(encoding="utf-8")
    assert len(card.encode()) <= MAX_OF_CARD
    assert {url.partition("/")[0] for url in re.findall(r"https?://([^\"'\s]+)", card)} <= {"www.w3.org"}
    assert re.findall(r"(?:src|href)=|import\(|@import|url\(", card) == []
    assert "card.html" not in json.loads((BUNDLE / "manifest.json").read_bytes())["files"]


def test_web_sources_use_no_raw_markup_and_no_registry_urls() -> None:
    for file in (WEB / "src").rglob("*.ts*"):
        text = file.read_text(encoding="utf-8")
        for word in ("innerHTML", "dangerouslySetInnerHTML", "outerHTML", "insertAdjacentHTML", "eval("):
            assert word not in text, file
    assert '"resolved"' not in (WEB / "package-lock.json").read_text(encoding="utf-8")
