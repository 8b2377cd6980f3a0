"""Arguments and options of all commands: unknown ids, and values that no command accepts."""

from pathlib import Path

from tests.hub.cli.conftest import Hub
from tests.support.command_tree import leaves
from tests.support.hub import ServedHub

# Commands whose first call with a new name succeeds.
MAKES = ("users create", "boards create", "agents create", "templates put")


def test_an_unknown_id_exits_with_the_same_code_with_json_and_without(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("", encoding="utf-8")
    codes = {}
    for leaf in leaves():
        has_argument = any(param.param_type_name == "argument" and param.required for param in leaf.params)
        if has_argument and leaf.has("--json") and leaf.has("--url") and leaf.words not in MAKES:
            flags = ["--yes"] if leaf.has("--yes") else []
            codes[leaf.words] = (
                hub(*leaf.line(file, *flags)).exit_code,
                hub(*leaf.line(file, *flags, "--json")).exit_code,
            )
    assert {words: both for words, both in codes.items() if both[0] != both[1]} == {}
    assert {words for words, both in codes.items() if both == (0, 0)} == set()
    assert len(codes) > 60
