"""Chain of endpoints with the interface of one model; the first answer counts. All are prompted alike.

An endpoint with an open circuit is skipped while another is available. If none is, it is asked nonetheless,
unless its quota is known to be used up.
"""

from collections.abc import Sequence

import msgspec

from hub.extraction.breaker import Circuit
from hub.extraction.endpoint import Endpoint
from hub.extraction.model import (
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    Price,
    Usage,
)
from hub.log import Channel

log = Channel(__name__)


class Chain:
    """``LanguageModel`` of one or more endpoints, in the order in which they are asked."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        first = endpoints[0]
        self.endpoints = tuple(endpoints)
        self.name = first.name
        self.chunk_tokens = min(endpoint.chunk_tokens for endpoint in endpoints)
        self.in_flight = first.in_flight
        self.is_literal = first.is_literal
        self.price = Price(
            max(endpoint.price.prompt_nanos for endpoint in endpoints),
            max(endpoint.price.completion_nanos for endpoint in endpoints),
        )

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer a request; see ``LanguageModel.answer``. The usage includes failed endpoints."""
        spent = Usage()
        errors: list[ModelError] = []
        left = list(self.endpoints)
        while left:
            endpoint = _next_of(left)
            left.remove(endpoint)
            try:
                answer = await endpoint.answer(request)
            except ModelError as error:
                spent += error.spent
                errors.append(error)
                if left:
                    log.info("model.passed_over", model=endpoint.name, why=error.code)
            else:
                return msgspec.structs.replace(answer, usage=spent + answer.usage)
        raise _together(errors, spent)

    async def reach(self) -> str | None:
        """Check the endpoints; see ``LanguageModel.reach``. One that answers is sufficient.

        If all endpoints refuse the configuration, the result is None: waiting would not help, and a question
        returns the error.
        """
        wrong: list[ModelError] = []
        for endpoint in self.endpoints:
            problem = await endpoint.probe()
            if problem is None:
                return None
            wrong.append(problem)
        is_away = any(isinstance(problem, ModelUnavailable) for problem in wrong)
        return "; ".join(map(str, wrong)) if is_away else None


def _next_of(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the first available endpoint, else the one available soonest."""
    for endpoint in endpoints:
        if endpoint.breaker.circuit is not Circuit.OPEN and not endpoint.is_on_trial:
            return endpoint
    return min(endpoints, key=lambda endpoint: endpoint.breaker.wait_s)


def _together(errors: Sequence[ModelError], spent: Usage) -> ModelError:
    """Combine the errors of all endpoints; a known wait takes precedence, because it loses no work."""
    message = "; ".join(str(error) for error in errors)
    exhausted = [error for error in errors if isinstance(error, ModelExhausted)]
    limited = [error for error in exhausted if error.reason == "rate_limit"]
    if limited:
        waits = [error.retry_after_s for error in limited if error.retry_after_s is not None]
        soonest_s = min(waits, default=None)
        return ModelExhausted(message, reason="rate_limit", retry_after_s=soonest_s, spent=spent)
    if any(isinstance(error, ModelUnavailable) for error in errors):
        return ModelUnavailable(message, spent=spent)
    if exhausted:
        return ModelExhausted(message, reason="billing", spent=spent)
    return ModelRefused(message, spent=spent)
