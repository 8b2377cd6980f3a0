"""How many tokens a question has, before the endpoint says so: estimated, and corrected by what it said."""

from typing import Final

import msgspec

from hub.extraction.model import ModelRequest

BYTES_PER_TOKEN: Final = (
    3.5  # of UTF-8: letters of the alphabet at 3.5 a token, a Chinese character at about one
)

_LEARNT: Final = 0.2  # of what the newest answer says goes into the ratio
_LEAST, _MOST = 0.2, 5.0  # whatever an endpoint claims
_SPARE: Final = 1.05  # endpoints count in ways of their own before they have read anything


class Sizer:
    """The estimates for one model at its endpoint."""

    def __init__(self) -> None:
        self._ratio = 1.0  # tokens that were counted for each one estimated

    def prompt_tokens(self, request: ModelRequest) -> float:
        """What reading *request* will cost, its schema included."""
        return _raw(request) * self._ratio

    def tokens(self, request: ModelRequest) -> float:
        """The most that *request* and its answer will cost."""
        return (self.prompt_tokens(request) + request.max_tokens) * _SPARE

    def learn(self, request: ModelRequest, prompt_tokens: int) -> None:
        """The endpoint counted *prompt_tokens* for *request*."""
        if prompt_tokens > 0:
            ratio = min(_MOST, max(_LEAST, prompt_tokens / _raw(request)))
            self._ratio += _LEARNT * (ratio - self._ratio)


def _raw(request: ModelRequest) -> float:
    said = sum(len(turn.content.encode()) for turn in request.messages)
    return (said + len(msgspec.json.encode(request.schema))) / BYTES_PER_TOKEN
