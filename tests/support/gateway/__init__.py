"""A gateway of the test's own: the real wire, and nothing on it that a real one was not seen to send."""

from tests.support.gateway.chat import Answer, Fails, NeverEnds
from tests.support.gateway.faults import Fault
from tests.support.gateway.office import DEFAULT_SOUL, Row
from tests.support.gateway.server import FakeGateway, fake_gateway

__all__ = [
    "DEFAULT_SOUL",
    "Answer",
    "Fails",
    "FakeGateway",
    "Fault",
    "NeverEnds",
    "Row",
    "fake_gateway",
]
