"""What is told of the models: which does not answer, and which is left alone."""

from hub.extraction.breaker import Breaker
from hub.extraction.model import ModelExhausted
from hub.health.models import check_circuits, check_reach
from tests.support.clock import START, FakeClock


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "http://127.0.0.1:1/v1 does not answer"


async def test_each_endpoint_that_does_not_answer_is_told_with_what_it_said() -> None:
    assert list(await check_reach({"one": well, "two": well})(START)) == []
    (found,) = await check_reach({"one": well, "two": ill})(START)
    assert found.subject == "two"
    assert found.explanation == "the model two was asked at 09:00 UTC: http://127.0.0.1:1/v1 does not answer"


async def test_a_model_without_quota_is_told_with_when_it_is_asked_again_and_who_answers_meanwhile() -> None:
    clock = FakeClock()
    breakers = {"first": Breaker(clock), "second": Breaker(clock)}
    look = check_circuits(breakers)
    assert list(await look(clock.now())) == []
    breakers["first"].failed(ModelExhausted("no quota is left", reason="rate_limit", retry_after_s=90.0))
    (found,) = await look(clock.now())
    assert found.subject == "first"
    assert found.explanation == (
        "no quota is left; it is asked again after 09:01:30 UTC, and until then second is asked instead"
    )
    clock.advance(90)
    (found,) = await look(clock.now())
    assert "the next document finds out whether it is over" in found.explanation
    breakers["first"].succeeded()
    assert list(await look(clock.now())) == []


async def test_when_no_model_is_left_that_is_said() -> None:
    breaker = Breaker(FakeClock())
    breaker.failed(ModelExhausted("no quota is left", reason="billing"))
    (found,) = await check_circuits({"only": breaker})(START)
    assert "no document is read by a model" in found.explanation
