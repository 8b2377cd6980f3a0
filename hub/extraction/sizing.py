"""Estimation of a question's tokens, corrected by the endpoint's counts."""

from typing import Final

import msgspec

from hub.extraction.model import ModelRequest

BYTES_PER_TOKEN: Final = 3.5  # of UTF-8: 3.5 Latin letters per token, or about one Chinese character

_LEARNT: Final = 0.2  # weight of the newest answer in the ratio
_LEAST, _MOST = 0.2, 5.0  # bounds for any endpoint
_SPARE: Final = 1.05  # initial margin, since tokenizers differ


class Sizer:
    """Estimator for one model at its endpoint."""

    def __init__(self) -> None:
        self._ratio = 1.0  # counted tokens per estimated token

    def prompt_tokens(self, request: ModelRequest) -> float:
        """Estimate the prompt tokens of *request*, including its schema."""
        return _raw(request) * self._ratio

    def tokens(self, request: ModelRequest) -> float:
        """Estimate the maximum tokens of *request* and its answer."""
        return (self.prompt_tokens(request) + request.max_tokens) * _SPARE

    def learn(self, request: ModelRequest, prompt_tokens: int) -> None:
        """Correct the ratio by the endpoint's count for *request*."""
        if prompt_tokens > 0:
            ratio = min(_MOST, max(_LEAST, prompt_tokens / _raw(request)))
            self._ratio += _LEARNT * (ratio - self._ratio)


def _raw(request: ModelRequest) -> float:
    said = sum(len(turn.content.encode()) for turn in request.messages)
    return (said + len(msgspec.json.encode(request.schema))) / BYTES_PER_TOKEN
