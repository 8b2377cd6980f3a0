"""The catalogue of refusals."""

from protocol.errors import CATALOGUE, CLOSE_MEANINGS, CloseCode, ErrorCode, HubError
from tests.support.families import each


def all_errors(root: type[HubError] = HubError) -> list[type[HubError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_every_code_has_an_entry_with_a_hint_and_an_error_status() -> None:
    assert (set(CATALOGUE), set(CLOSE_MEANINGS)) == (set(ErrorCode), set(CloseCode))
    assert [
        code for code, info in CATALOGUE.items() if not info.hint or not 400 <= info.http_status < 600
    ] == []
    assert [code for code in ErrorCode if code.value != code.name.lower()] == []


def test_hints_and_close_meanings_name_no_protocol_field() -> None:
    assert not [code for code, info in CATALOGUE.items() if "retry_after_ms" in info.hint]
    assert not [code for code, meaning in CLOSE_MEANINGS.items() if "retry_after_ms" in meaning]


def test_a_client_reconnects_after_codes_below_4500_only() -> None:
    assert [code for code in CloseCode if code.may_return != (code < 4500)] == []


@each("error", all_errors())
def test_every_error_of_ours_has_a_code_of_the_catalogue(error: type[HubError]) -> None:
    assert error.code in CATALOGUE
