"""What hub.toml says about the addresses that the hub may call."""

from pathlib import Path

import pytest

from hub.settings.reading import check_settings


def problems(folder: Path, text: str) -> list[str]:
    """Each as ``line:column: severity: ...``."""
    file = folder / "hub.toml"
    file.write_text(text)
    return [str(problem).removeprefix(f"{file}:") for problem in check_settings(file).problems]


MODEL = '[model]\nkind = "openai"\nbase_url = "{url}"\nname = "m"\ninsecure = true\n'


def test_hosts_addresses_and_networks_may_be_listed(tmp_path: Path) -> None:
    assert problems(tmp_path, '[outbound]\nallow = ["model.lan", "192.168.1.5", "10.0.0.0/8"]\n') == []


@pytest.mark.parametrize("entry", ["http://model.lan", "10.0.0.1/8", ""])
def test_a_value_of_another_type_is_an_error_with_its_position(tmp_path: Path, entry: str) -> None:
    (told,) = problems(tmp_path, f'[outbound]\nallow = ["10.0.0.0/8", "{entry}"]\n')
    assert told.startswith("2:24: error: the second of outbound.allow: ")
    assert 'as in "10.0.0.0/8"' in told


def test_a_model_at_an_address_that_will_be_refused_is_warned_of(tmp_path: Path) -> None:
    text = MODEL.format(url="http://192.168.1.5:11434/v1")
    (told,) = problems(tmp_path, text)
    assert told.startswith("3:12: warning: model.base_url: 192.168.1.5 is not called")
    assert problems(tmp_path, text + '[outbound]\nallow = ["192.168.1.0/24"]\n') == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:11434/v1", "https://8.8.8.8/v1", "https://model.lan/v1"])
def test_other_addresses_and_names_are_not(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, MODEL.format(url=url)) == []
