"""Validation of samples that devices report about their agents."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from protocol.measurements import (
    GREATEST,
    MOST_TAGS,
    NAME,
    NAME_CHARACTERS,
    OWN,
    TAG,
    TAG_CHARACTERS,
    TAG_VALUE_CHARACTERS,
    Sample,
)
from storage.agents.agents import UnknownAgent
from storage.agents.measurements import SampleRow

AHEAD_MS: Final = 60_000  # maximum lead of a device's clock
DAY_MS: Final = 86_400_000


class BadSample(HubError):
    """A sample is invalid; no sample of its report was stored."""

    code = ErrorCode.BAD_PARAMS


def checked(
    samples: Sequence[Sample], agents: Mapping[str, AgentId], *, now_ms: int, oldest_ms: int
) -> list[SampleRow]:
    """Return the samples in stored form.

    Args:
        agents: the device's agents, by name and by id.
        oldest_ms: older samples are refused, because they would not be kept.

    Raises:
        BadSample, UnknownAgent: a sample is invalid; the message says which, and how to correct it.
    """
    rows = []
    for place, sample in enumerate(samples):
        where = f"samples[{place}]"
        agent_id = agents.get(sample.agent_id)
        if agent_id is None:
            raise UnknownAgent(f"{where}.agent_id: this device has no agent {sample.agent_id!r}")
        _check_name(sample.name, where)
        _check_value(sample.value, where)
        _check_tags(sample.tags, where)
        at = now_ms if sample.at_ms is None else sample.at_ms
        _check_time(at, where, now_ms, oldest_ms)
        rows.append(
            SampleRow(
                agent_id=agent_id,
                name=sample.name,
                value=sample.value,
                at=min(at, now_ms),  # a clock that is slightly ahead must not create a future bucket
                type=sample.type,
                tags=sample.tags,
            )
        )
    return rows


def _check_name(name: str, where: str) -> None:
    if name.startswith(OWN):
        raise BadSample(f"{where}.name: {name!r} is of the hub; a name may not begin with {OWN!r}")
    if not NAME.fullmatch(name) or len(name) > NAME_CHARACTERS:
        expected = f"a letter, then letters, digits, '_', '.' or '-', at most {NAME_CHARACTERS}"
        raise BadSample(f"{where}.name: expected {expected}; not {name[:NAME_CHARACTERS]!r}")


def _check_value(value: float, where: str) -> None:
    if not math.isfinite(value) or abs(value) > GREATEST:
        raise BadSample(f"{where}.value: expected a number from -{GREATEST:g} to {GREATEST:g}")


def _check_tags(tags: Mapping[str, str], where: str) -> None:
    if len(tags) > MOST_TAGS:
        raise BadSample(f"{where}.tags: expected at most {MOST_TAGS} tags, not {len(tags)}")
    for name, value in sorted(tags.items()):
        _check_tag(name, value, where)


def _check_tag(name: str, value: str, where: str) -> None:
    if not TAG.fullmatch(name) or len(name) > TAG_CHARACTERS:
        expected = f"a letter or '_', then letters, digits, '_', '.' or '-', at most {TAG_CHARACTERS}"
        raise BadSample(f"{where}.tags: expected as a tag's name {expected}; not {name[:TAG_CHARACTERS]!r}")
    if not value or len(value) > TAG_VALUE_CHARACTERS or not value.isprintable():
        expected = f"1 to {TAG_VALUE_CHARACTERS} printable characters"
        raise BadSample(f"{where}.tags.{name}: expected {expected}")


def _check_time(at: int, where: str, now_ms: int, oldest_ms: int) -> None:
    if at > now_ms + AHEAD_MS:
        told = f"{(at - now_ms) / 1_000:.0f} s ahead of the hub's clock; set the clock of the device"
        raise BadSample(f"{where}.at_ms: {at} is {told}")
    if at < oldest_ms:
        told = f"older than the {(now_ms - oldest_ms) // DAY_MS} days that measurements are kept"
        raise BadSample(f"{where}.at_ms: {at} is {told} (retention.metric_hours_days); leave it out")
