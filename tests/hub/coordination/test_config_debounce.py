"""Letters wait while a gateway takes up another configuration, and not for ever."""

from hub.coordination.provisioning import CHANGED, CONFIG_POLL_S, MOST_S, QUIET_S, Quiet
from hub.openclaw import GatewayEvent, Reconnected
from tests.support.clock import FakeClock

WEST = "west"


def test_a_gateway_without_configuration_changes_holds_no_messages() -> None:
    quiet = Quiet(FakeClock())
    quiet.on_news(Reconnected(gateway=WEST, boot_id="1", is_restart=False))
    quiet.on_news(GatewayEvent(gateway=WEST, name="tick", payload={}))
    assert quiet.held_s(WEST) == 0


def test_letters_wait_while_agents_are_made_and_a_while_after_the_last_change() -> None:
    clock = FakeClock()
    quiet = Quiet(clock)
    with quiet.making(WEST):
        clock.advance(QUIET_S * 2)
        assert (quiet.held_s(WEST), quiet.held_s("east")) == (CONFIG_POLL_S, 0)
        quiet.changed(WEST)
    clock.advance(1)
    assert quiet.held_s(WEST) == QUIET_S - 1
    clock.advance(QUIET_S - 1)
    assert quiet.held_s(WEST) == 0


def test_a_change_by_another_client_counts_as_well() -> None:
    clock = FakeClock()
    quiet = Quiet(clock)
    quiet.on_news(GatewayEvent(gateway=WEST, name=CHANGED, payload={"hash": "1"}))
    clock.advance(2)
    quiet.on_news(GatewayEvent(gateway=WEST, name=CHANGED, payload={"hash": "2"}))
    assert quiet.held_s(WEST) == QUIET_S
    clock.advance(QUIET_S)
    assert quiet.held_s(WEST) == 0


def test_an_agent_that_cannot_be_created_does_not_hold_messages_for_ever() -> None:
    clock = FakeClock()
    quiet = Quiet(clock)
    with quiet.making(WEST):
        clock.advance(MOST_S)
        assert quiet.held_s(WEST) == 0
    assert quiet.held_s(WEST) == 0
    quiet.changed(WEST)
    assert quiet.held_s(WEST) == QUIET_S
