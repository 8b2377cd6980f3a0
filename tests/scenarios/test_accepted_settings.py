"""Settings that ``hub check`` accepts start a hub, and their agents run; what it refuses does not start."""

from pathlib import Path

import pytest

from tests.scenarios.accepted_settings import EXTRAS, drawn, judge, keys_of_page
from tests.support.families import each

SEED = 5
FILES = list(drawn(SEED, len(EXTRAS) + 4))


def test_reference_page_of_settings_is_read_whole() -> None:
    sections = {section for section, _, _ in keys_of_page()}
    assert {"hub", "model local", "agents.schedule", "listen.webhooks.tls", "backup"} <= sections


@pytest.mark.slow
@each("file", FILES[len(EXTRAS) :])
def test_drawn_settings_file_is_accepted_by_all_commands_or_by_none(tmp_path: Path, file: object) -> None:
    number = FILES.index(file)  # type: ignore[arg-type]
    assert judge(FILES[number], tmp_path / str(number)).faults() == []


@pytest.mark.slow
@each("lacks", [("mcp",), ("asyncpg",)])
def test_settings_of_a_missing_extra_are_refused_by_check_and_serve(
    tmp_path: Path, lacks: tuple[str, ...]
) -> None:
    file = next(file for file in FILES if file.lacks == lacks)
    verdict = judge(file, tmp_path / lacks[0])
    assert (verdict.check, verdict.serve, verdict.faults()) == (78, 78, [])
    assert f"needs the package {lacks[0]}" in verdict.check_said
