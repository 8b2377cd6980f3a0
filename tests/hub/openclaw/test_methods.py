"""What the hub asks of gateways, as types; and that the fake behaves as a real one was seen to."""

from hub.openclaw import GatewayInvalid
from hub.openclaw.methods import (
    chat_send,
    message_text,
)
from tests.support.families import each
from tests.support.gateway import FakeGateway
from tests.support.gateway.visit import Visit, failed

MAIN = "agent:main:main"


async def test_message_text_taken_as_a_gateway_command_is_reported_as_invalid(
    gateway: FakeGateway, visit: Visit
) -> None:
    assert isinstance(await failed(chat_send(visit.client, MAIN, "stop", key="k1")), GatewayInvalid)
    assert gateway.said(MAIN) == []


@each(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "text"}, 7, None], ""),
        (None, ""),
        ({"text": "x"}, ""),
    ],
)
def test_message_text_is_found_in_every_content_form(content: object, text: str) -> None:
    assert message_text(content) == text
