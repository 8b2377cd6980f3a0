"""Reading and validation of the parameters of a request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, TypeVar

import msgspec

from hub.api.device import Later
from hub.api.sentences import sentence
from hub.links.link import DeviceLink
from protocol.errors import ErrorCode, HubError
from protocol.frame import Parameters

KEY_CHARACTERS: Final = 128  # of an idempotency key, as of operators'

T = TypeVar("T")


Handler: TypeAlias = Callable[[DeviceLink, Parameters], Awaitable[Parameters | Later]]
Methods: TypeAlias = Mapping[str, Handler]


class BadParams(HubError):
    """A parameter is missing or has the wrong type."""

    code = ErrorCode.BAD_PARAMS


def text_in(params: Parameters, name: str) -> str:
    """Return a required text.

    Raises:
        BadParams: the text is missing or empty.
    """
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise BadParams(f"{name}: expected text")
    return value


def params_as(params: Parameters, shape: type[T]) -> T:
    """Convert the parameters to a struct of this *shape*, which ignores unknown ones.

    Raises:
        BadParams: a parameter is missing or of another type.
    """
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as error:
        raise BadParams(sentence(str(error), shape)) from error


def key_in(params: Parameters) -> str | None:
    """Return the idempotency key, or None.

    Raises:
        BadParams: the key is not text, or too long.
    """
    if params.get("idempotency_key") is None:
        return None
    key = text_in(params, "idempotency_key")
    if len(key) > KEY_CHARACTERS:
        raise BadParams(f"idempotency_key: expected at most {KEY_CHARACTERS} characters, not {len(key)}")
    return key
