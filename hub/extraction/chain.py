"""Several endpoints as one model: the first that answers. All of them read the same way.

An endpoint whose circuit is open is passed over as long as there is another to go to;
when there is none it is asked all the same, unless its quota is known to be used up.
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
    """A ``LanguageModel`` of at least one endpoint, in the order in which they are asked."""

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
        """See ``LanguageModel.answer``. What the endpoints before the one that answered cost is told too."""
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
        """See ``LanguageModel.reach``. One endpoint that answers is enough.

        What is refused everywhere is not waited for: whoever asks is told which setting is wrong.
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
    """The first that may be asked now; else the one that may be asked soonest."""
    for endpoint in endpoints:
        if endpoint.breaker.circuit is not Circuit.OPEN and not endpoint.is_on_trial:
            return endpoint
    return min(endpoints, key=lambda endpoint: endpoint.breaker.wait_s)


def _together(errors: Sequence[ModelError], spent: Usage) -> ModelError:
    """One error for those of all endpoints: a wait of known length before all else, for it loses nothing."""
    told = "; ".join(str(error) for error in errors)
    exhausted = [error for error in errors if isinstance(error, ModelExhausted)]
    limited = [error for error in exhausted if error.reason == "rate_limit"]
    if limited:
        waits = [error.retry_after_s for error in limited if error.retry_after_s is not None]
        soonest_s = min(waits, default=None)
        return ModelExhausted(told, reason="rate_limit", retry_after_s=soonest_s, spent=spent)
    if any(isinstance(error, ModelUnavailable) for error in errors):
        return ModelUnavailable(told, spent=spent)
    if exhausted:
        return ModelExhausted(told, reason="billing", spent=spent)
    return ModelRefused(told, spent=spent)
