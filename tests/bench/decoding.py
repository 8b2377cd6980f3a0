"""Row 12: what it costs to make something of a 250 B ``tool_result``."""

import gc
import json
from collections.abc import Callable
from functools import cache
from itertools import cycle
from time import perf_counter_ns
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, TypeAdapter

from protocol.codec import JSON
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import HubSession
from protocol.tool_calls import ToolResult
from tests.bench.rounds import play, ratio
from tests.bench.rows import Row, at_most

_DIFFERENT: Final = 64  # frames in turn: a decoder that sees one frame again and again looks too good
_REPEATS: Final = 5
_DECODES: Final = 20_000


@cache
def frames() -> tuple[bytes, ...]:
    """Different frames of about 250 bytes."""
    ids = [f"c-{n:032x}" for n in range(_DIFFERENT)]
    results = [
        {"ok": True, "table": "tasks", "id": call_id, "changes": 1, "at": 1_766_000_000_000, "note": "n" * 52}
        for call_id in ids
    ]
    return tuple(
        JSON.encode(ToolResult(id=call_id, result=JSON.pack(result)))
        for call_id, result in zip(ids, results, strict=True)
    )


class _Answer(BaseModel):
    type: Literal["tool_result"]
    id: str
    result: Any = None
    error: str | None = None


class _Heartbeat(BaseModel):
    type: Literal["heartbeat"]
    ts_ms: int


class _Data(BaseModel):
    type: Literal["agent_data"]
    run_id: str
    files: list[dict[str, str]]


class _Complete(BaseModel):
    type: Literal["agent_complete"]
    run_id: str


_AnyFrame = Annotated[_Answer | _Heartbeat | _Data | _Complete, Field(discriminator="type")]


def _by_codec() -> Callable[[bytes], object]:
    """The frame, and the open value in it."""
    return JSON.decode_from_device


def _by_session() -> Callable[[bytes], object]:
    """A session that is past its greeting."""
    session = HubSession(codec=JSON, hub_id="bench", nonce=bytes(32), now=0.0, ts_ms=0)
    session.receive_data(JSON.encode(DeviceHello()), 0.0)
    session.accept(
        user_id=UserId("u"),
        device_id=DeviceId("d"),
        connection_id=ConnectionId("c"),
        epoch=1,
        ts_ms=0,
        now=0.0,
    )
    return lambda data: session.receive_data(data, 1.0)


def _timed(decode: Callable[[bytes], object]) -> Callable[[], float]:
    """A measurement: nanoseconds for one frame, the fastest of a few tries."""

    def measure() -> float:
        best = float("inf")
        for _ in range(_REPEATS):
            different = cycle(frames())
            gc.collect()
            began = perf_counter_ns()
            for _, data in zip(range(_DECODES), different, strict=False):
                decode(data)
            best = min(best, (perf_counter_ns() - began) / _DECODES)
        return best

    return measure


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 12, in this process."""
    echo(f"frames of {len(frames()[0])} B, {_DIFFERENT} different ones in turn; no event loop")
    rounds = play(
        {
            "loop alone": _timed(lambda _: None),
            "codec": _timed(_by_codec()),
            "session": _timed(_by_session()),
            "pydantic": _timed(TypeAdapter(_AnyFrame).validate_json),
            "json": _timed(json.loads),
        },
        echo=echo,
    )
    for name in rounds[0]:
        echo(f"{name:>10}: {min(played[name].value for played in rounds):7.0f} ns a frame at best")
    # The loop around the decoder is no part of the decoder.
    for played in rounds:
        for name in ("codec", "session", "pydantic", "json"):
            figure = played[name]
            played[name] = figure._replace(value=figure.value - played["loop alone"].value)
    return [
        Row("12", "decode: codec / pydantic validate_json", at_most(0.4), ratio(rounds, "codec", "pydantic")),
        Row("12", "decode: codec / json.loads", at_most(0.33), ratio(rounds, "codec", "json")),
        Row("12", "the whole session's path / pydantic", None, ratio(rounds, "session", "pydantic")),
        Row("12", "the whole session's path / json.loads", None, ratio(rounds, "session", "json")),
    ]
