"""The package of npm: its files, its built files, and the examples of PROTOCOL.md."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.support.documents import PAGE
from tests.support.node_device import PACKAGE, needs_node, run_script
from tests.support.processes import ROOT

pytestmark = needs_node
SOURCES = PACKAGE / "src"
BUILT = PACKAGE / "dist"


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here: apt-get install npm")
def test_package_has_only_built_files_and_types() -> None:
    command = ["npm", "pack", "--dry-run", "--json", "--offline", "--ignore-scripts"]
    packed = subprocess.run(command, cwd=PACKAGE, capture_output=True, check=False)
    assert packed.returncode == 0, packed.stderr.decode()
    (package,) = json.loads(packed.stdout)
    modules = [file.stem for file in SOURCES.glob("*.ts")]
    built = {f"dist/{module}.{ending}" for module in modules for ending in ("js", "d.ts")}
    assert {file["path"] for file in package["files"]} == {"README.md", "package.json", *built}
    described = json.loads((PACKAGE / "package.json").read_bytes())
    assert "dependencies" not in described
    exported = [path for ways in described["exports"].values() for path in ways.values()]
    assert all((PACKAGE / path).exists() for path in exported)


@pytest.mark.slow
@pytest.mark.skipif(not (PACKAGE / "node_modules").exists(), reason="its tools are not installed: make web")
def test_same_sources_build_the_same_files(tmp_path: Path) -> None:
    command = ["npx", "--offline", "tsc", "--outDir", str(tmp_path)]
    built = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in BUILT.iterdir()}
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (BUILT / file.name).read_bytes(), f"{file.name}: run 'make web'"
    plugin = tmp_path / "main.js"
    bundling = json.loads((PACKAGE / "package.json").read_bytes())["scripts"]["bundle"].split()
    subprocess.run(["npx", "--offline", *bundling[:-1], f"--outfile={plugin}"], cwd=PACKAGE, check=True)
    assert plugin.read_bytes() == (PACKAGE / "obsidian" / "main.js").read_bytes(), "run 'make web'"


def test_sources_have_no_any_and_the_lock_names_no_registry() -> None:
    for file in SOURCES.glob("*.ts"):
        assert not re.search(r"\bany\b(?! [a-z])|@ts-|eslint", file.read_text()), file
    assert '"resolved"' not in (PACKAGE / "package-lock.json").read_text()


def test_examples_of_the_protocol_are_signed_checked_and_named_alike() -> None:
    page = PAGE.read_text()
    frames = [
        json.loads(line[10:]) for line in page.splitlines() if line.startswith(("hub    -> {", "device -> {"))
    ]
    challenge = next(frame for frame in frames if frame["type"] == "challenge")
    hello = next(frame for frame in frames if "identity" in frame)
    section = page.partition("<!-- generated: challenge text -->")[2]
    nonce = section.partition("```\n")[2].partition("\n```")[0].splitlines()[-1]
    texts = page.partition("<!-- generated: signed text -->")[2]
    found = run_script("node_keys.mjs", {"challenge": challenge, "hello": hello, "nonce": nonce})
    assert found["hub"] == challenge["proof"]["public_key"]
    assert found["text"] == texts.partition("```\n")[2].partition("\n```")[0]
    assert found["keyId"] in page
    assert found["waits"] == [500, 5000, 60_000, 3000, 1000, 5000, None, None, None]


def test_digests_of_the_examples_are_those_of_the_protocol() -> None:
    examples = json.loads((PAGE.parent / "digests.json").read_bytes())
    expected = {name: [example["sha256"] for example in examples[name]] for name in ("rows", "values")}
    assert run_script("node_digests.mjs", examples) == expected


def test_hub_cannot_name_an_address_of_the_devices_own_machine_in_any_spelling() -> None:
    here = ["127.0.0.1", "127.0.0.2", "127。0。0。1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"]
    here += ["%31%32%37.0.0.1", "localhost", "localhost.", "foo.localhost", "ⓛocalhost", "0", "0.0.0.0"]
    here += ["[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "user@127.0.0.1"]
    others = ["wss://b.example:1", "wss://10.0.0.1:1"]
    named = [f"wss://{host}:1" for host in here]
    assert run_script("node_routes.mjs", [*named, *others]) == others


def test_node_store_preserves_complete_records_after_a_kill(tmp_path: Path) -> None:
    assert run_script("node_store.mjs", str(tmp_path)) == {
        "after a restart": [["a", 2], ["c", "ä"]],
        "after half a line": [["a", 2], ["c", "ä"]],
        "after a line of zeros": [["a", 2], ["c", "ä"]],
        "in use": "process uses end it first",
        "damaged": "is damaged at byte",
        "rewritten": True,
        "mode": "600",
    }


def test_wheel_of_the_hub_does_not_carry_the_package() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "hub/device/client.py" in files
    assert [file for file in files if "typescript" in file or "node_modules" in file] == []
