"""The catalogue of refusals."""

import pytest

from protocol.errors import CATALOGUE, CLOSE_MEANINGS, CloseCode, ErrorCode, HubError
from tests.support.families import each


def all_errors(root: type[HubError] = HubError) -> list[type[HubError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_every_code_is_in_the_catalogue_with_a_hint() -> None:
    assert set(CATALOGUE) == set(ErrorCode)
    assert all(info.hint for info in CATALOGUE.values())


def test_no_hint_names_a_field_to_a_person() -> None:
    assert not [code for code, info in CATALOGUE.items() if "retry_after_ms" in info.hint]
    assert not [code for code, meaning in CLOSE_MEANINGS.items() if "retry_after_ms" in meaning]


def test_every_code_has_an_error_status() -> None:
    assert all(400 <= info.http_status < 600 for info in CATALOGUE.values())


def test_codes_are_spelled_in_snake_case() -> None:
    assert all(code.value == code.name.lower() for code in ErrorCode)


def test_every_close_code_has_a_meaning() -> None:
    assert set(CLOSE_MEANINGS) == set(CloseCode)


@pytest.mark.parametrize("code", CloseCode)
def test_a_client_reconnects_after_codes_below_4500_only(code: CloseCode) -> None:
    assert code.may_return == (code < 4500)


@each("error", all_errors())
def test_every_error_of_ours_has_a_code_of_the_catalogue(error: type[HubError]) -> None:
    assert error.code in CATALOGUE
