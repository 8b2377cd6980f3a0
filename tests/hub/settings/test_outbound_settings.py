"""What hub.toml says about the addresses that the hub may call."""

import pytest

from tests.support.settings import Check

MODEL = '[model]\nkind = "openai"\nbase_url = "{url}"\nname = "m"\ninsecure = true\n'


def test_hosts_addresses_and_networks_may_be_listed(check: Check) -> None:
    assert check('[outbound]\nallow = ["model.lan", "192.168.1.5", "10.0.0.0/8"]\n') == []


@pytest.mark.parametrize("entry", ["http://model.lan", "10.0.0.1/8", ""])
def test_a_value_of_another_type_is_an_error_with_its_position(check: Check, entry: str) -> None:
    (told,) = check(f'[outbound]\nallow = ["10.0.0.0/8", "{entry}"]\n')
    assert told.startswith("2:24: error: the second of outbound.allow: ")
    assert 'as in "10.0.0.0/8"' in told


def test_a_model_at_an_address_that_will_be_refused_is_warned_of(check: Check) -> None:
    text = MODEL.format(url="http://192.168.1.5:11434/v1")
    (told,) = check(text)
    assert told.startswith("3:12: warning: model.base_url: 192.168.1.5 is not called")
    assert check(text + '[outbound]\nallow = ["192.168.1.0/24"]\n') == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:11434/v1", "https://8.8.8.8/v1", "https://model.lan/v1"])
def test_other_addresses_and_names_are_not(check: Check, url: str) -> None:
    assert check(MODEL.format(url=url)) == []


@pytest.mark.parametrize("url", ["https://169.254.169.254/x", "https://[::ffff:10.0.0.1]/x"])
def test_a_target_at_an_address_that_will_be_refused_is_warned_of(check: Check, url: str) -> None:
    text = f'[[notify]]\nname = "ops"\nkind = "ntfy"\nurl = "{url}"\n'
    (told,) = check(text)
    assert told.startswith("4:7: warning: notify.ops.url: ")
    assert "is not called" in told
    assert check(text + '[outbound]\nallow = ["169.254.169.254", "10.0.0.0/8"]\n') == []
