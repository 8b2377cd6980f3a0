"""Names that plug-ins, test kits and packages of sinks of release 0.2 import."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.families import each

OLD_NAMES = [
    ("hub.document", "Document", "hub.document.Document"),
    ("hub.clock", "SystemClock", "hub.base.clock.SystemClock"),
    ("hub.clock", "SystemChance", "hub.base.clock.SystemChance"),
    ("hub.outbound.client", "OutboundClient", "hub.base.outbound.client.OutboundClient"),
    ("hub.outbound.rules", "OutboundRules", "hub.base.outbound.rules.OutboundRules"),
    ("hub.connectors.calling", "Quota", "hub.connectors.calling.ProviderQuota"),
    ("hub.connectors.calling", "Answer", "hub.connectors.calling.HttpReply"),
    ("hub.connectors.calling", "Caller", "hub.connectors.calling.ProviderCaller"),
    ("hub.connectors.calling", "Tokens", "hub.connectors.calling.AccessTokens"),
    ("hub.device.sinks.lines", "Markdown", "hub.text.rows.lines.Markdown"),
    ("hub.device.sinks.lines", "TodoTxt", "hub.text.rows.lines.TodoTxt"),
    ("hub.device.sinks.target", "Put", "hub.text.rows.row.Put"),
    ("hub.device.sinks.target", "Shape", "hub.text.rows.row.Shape"),
    ("hub.device.sinks.target", "shape_of", "hub.text.rows.row.shape_of"),
    ("hub.device.sinks.target", "Target", "hub.device.sinks.target.Target"),
    ("hub.device.sinks.text_file", "TextFile", "hub.device.sinks.text_file.TextFile"),
]


@each(("module", "name", "new"), OLD_NAMES)
def test_old_name_is_the_object_of_the_new_name(module: str, name: str, new: str) -> None:
    home, _, last = new.rpartition(".")
    assert getattr(import_module(module), name) is getattr(import_module(home), last)


@pytest.mark.parametrize("module", sorted({module for module, _, _ in OLD_NAMES}))
def test_old_module_is_importable_first_in_a_new_process(module: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        f"import sys; sys.path.insert(0, {str(root)!r}); import {module}",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr == ""
