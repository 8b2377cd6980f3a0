"""What several tests of the protocol share."""

import pytest

from protocol.codec import CODECS, JSON, Codec
from protocol.session import HelloReceived
from tests.support.script import HELLO, WELCOME, Script

both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def ready(codec: Codec = JSON) -> Script:
    """Return the hub's side of a session after its welcome."""
    return Script(codec).device_says(HELLO).accept().hub_says(WELCOME).hub_sees(HelloReceived(HELLO))
