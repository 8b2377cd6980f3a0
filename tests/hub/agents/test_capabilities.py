"""What is registered and kept of agents: who hears of it, and where it ends."""

import pytest

from hub.agents import capabilities, checkpoints
from hub.agents.capabilities import CapabilityRegistry
from hub.agents.checkpoints import CheckpointService
from hub.agents.json_objects import validated_object
from protocol.errors import CodedError, ErrorCode
from tests.support.coded import coded
from tests.support.families import each
from tests.support.runs import Bench


def registry(bench: Bench) -> tuple[CapabilityRegistry, list[str]]:
    """What registers, and a list that grows when somebody is told of a change."""
    told: list[str] = []
    made = CapabilityRegistry(
        bench.store, clock=bench.clock, metrics=bench.metrics, on_changed=lambda: told.append("changed")
    )
    return made, told


async def register(made: CapabilityRegistry, bench: Bench, version: str, name: str = "file.read") -> None:
    await made.register(bench.agent.id, name=name, version=version, actor="device:d")


async def test_a_subscriber_gets_each_change_of_a_capability_and_no_other_event(
    bench: Bench,
) -> None:
    made, told = registry(bench)
    await register(made, bench, "1.0.0")
    await register(made, bench, "1.0.0")
    assert told == ["changed"]
    await made.remove(bench.agent.id, name="file.read", actor="device:d")
    assert told == ["changed", "changed"]


async def test_reached_capability_and_checkpoint_limits_are_counted_by_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = registry(bench)
    monkeypatch.setattr(capabilities, "CAPABILITIES", 1)
    monkeypatch.setattr(capabilities, "CAPABILITY_BYTES", 20)
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", 1)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_BYTES", 20)
    await register(made, bench, "1.0.0")
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)):
        await register(made, bench, "2.0.0")
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE)):
        await made.register(bench.agent.id, name="web", version="1.0.0", config={"a": "x" * 20}, actor="me")
    kept = CheckpointService(bench.store, clock=bench.clock, metrics=bench.metrics)
    await kept.store(bench.agent.id, scope="agent", sequence=1, state={}, actor="device:d")
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)):
        await kept.store(bench.agent.id, scope="b", sequence=1, state={}, actor="device:d")
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE)):
        await kept.store(bench.agent.id, scope="agent", sequence=2, state={"a": "x" * 20}, actor="device:d")
    assert bench.metrics.reached() == {
        "capabilities_per_agent": 1,
        "capability_config_bytes": 1,
        "checkpoints_per_agent": 1,
        "checkpoint_bytes": 1,
    }


@each("name", ["", "read files", "a/b", ".read", "r" * 256, "lesen\u00fc"])
async def test_capability_name_invalid_in_a_url_is_refused(bench: Bench, name: str) -> None:
    made, told = registry(bench)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_PARAMS), match="cannot be the name of a capability"
    ) as caught:
        await register(made, bench, "1.0.0", name=name)
    assert (caught.value.code, told) == (ErrorCode.BAD_PARAMS, [])


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@each(
    ("given", "told"),
    [
        ({"a": nested(9)}, "at most 8 levels"),
        ({"a": float("nan")}, "expected a JSON object"),
        ({"a": float("inf")}, "expected a JSON object"),
        ({"a": 2**64}, "expected a JSON object"),
        ({"a": {"b": "\0"}}, "null character"),
        ({"a": "\ud800"}, "half a character"),
        ({"k" * 129: 1}, "expected a JSON object"),
    ],
)
def test_document_with_unstorable_content_is_refused_with_the_path(
    given: dict[str, object], told: str
) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=f"^state: .*{told}"):
        validated_object("state", given, most=10_000, limit="checkpoint_bytes")


def test_document_of_eight_levels_is_accepted_unchanged() -> None:
    given = {"a": nested(8), "b": {"c": [1.5, None, True, "\U0001f600"]}}
    assert validated_object("state", given, most=10_000, limit="checkpoint_bytes") == given
