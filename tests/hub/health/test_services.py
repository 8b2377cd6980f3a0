"""Services that broke are an issue until they have run for an hour without failing again."""

from datetime import timedelta

from hub.app.supervisor import Failures
from hub.health.issues import Severity
from hub.health.services import check_services
from tests.support.clock import START


async def test_a_service_that_broke_is_told_for_an_hour_and_as_long_as_it_is_down() -> None:
    failures: dict[str, Failures] = {}
    look = check_services(lambda: failures)
    assert list(await look(START)) == []

    failures["backups"] = Failures(2, START, "ValueError")
    (down,) = await look(START + timedelta(days=1))
    assert (down.id, down.subject, down.severity) == ("service.broken", "backups", Severity.ERROR)
    assert "broke 2 times since the start, last with ValueError; it is down" in down.explanation

    failures["backups"].is_down = False
    (back,) = await look(START + timedelta(minutes=59))
    assert (back.severity, back.explanation[-13:]) == (Severity.WARNING, "it runs again")
    assert list(await look(START + timedelta(hours=1))) == []
