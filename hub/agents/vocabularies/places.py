"""Description of a name of a seed: the columns for it, and how it is read and written."""

from typing import Final, NamedTuple

from protocol.agent_status import STORED_AXES, Axis
from protocol.vocabularies import Reading, Rule, Vocabulary


class Place(NamedTuple):
    """Mapping of one name.

    Attributes:
        name: the name in its seed: ``AgentStatus.idle``, ``agents.status``, ``uq_agent_config``.
        lives: columns of this hub, as ``agent_states.health``; empty if derived or not needed.
        read: how it is read or derived.
        written: how it is written, or why it is not.
    """

    name: str
    lives: tuple[str, ...]
    read: str
    written: str


class Chapter(NamedTuple):
    """Names of one table or enum of a seed. *kind*: value, column, constraint or index."""

    vocabulary: Vocabulary
    title: str
    kind: str
    places: tuple[Place, ...]


def place(name: str, lives: str, read: str, written: str) -> Place:
    return Place(name, tuple(lives.split()), read, written)


def same(prefix: str, lives: str, words: str, read: str, written: str) -> tuple[Place, ...]:
    """Return the mapping of values with the same spelling in the seed and here."""
    return tuple(Place(f"{prefix}.{word}", (lives,), read, written) for word in words.split())


PATCH_AGENT: Final = "a setting: `PATCH /v1/agents/{name}`, or hub.toml for an agent that stands there"
HUB: Final = "the hub's own; never written from outside"
CONFIG: Final = "`PUT /v1/agents/{name}/config/{key}`, `config.set` of a device, or hub.toml"
CAPABILITY: Final = (
    "`PUT /v1/agents/{name}/capabilities/{capability}`, `capabilities.put` of a device, or hub.toml"
)
TEMPLATE: Final = "`PUT /v1/templates/{name}`, or [[templates]] of hub.toml"
METRIC: Final = "`metrics.report` of a device; the hub's own by what it does"
CHECKPOINT: Final = "`PUT /v1/agents/{name}/checkpoints/{scope}`, or `checkpoints.put` of a device"
RUN_START: Final = "`POST /v1/agents/{name}/runs`, or `runs.start` of a device"
RUN_REPORT: Final = "`runs.report` of the device that executes it"
RUN_MOVES: Final = "the moves of the run table; people start, pause, resume and cancel"
NO_TYPE: Final = "no native enum: text with a CHECK, so that both databases have the same law"


def words(reading: Reading) -> tuple[Place, ...]:
    """Return the values of a column that is derived by rules, described by the rules themselves."""
    return tuple(
        Place(
            f"{reading.in_seed}.{word}",
            tuple(dict.fromkeys(f"agent_states.{rule.axis}" for rule in rules if rule.axis in STORED_AXES)),
            "; or ".join(_conditions(rule) for rule in rules),
            _written_moves(reading, rules[0]),
        )
        for word in reading.words
        for rules in [[rule for rule in reading.rules if rule.word == word]]
    )


def _conditions(rule: Rule) -> str:
    if not rule.when:
        return "in every other case"
    return " and ".join(f"{axis} is {' or '.join(sorted(values))}" for axis, values in rule.when.items())


def _written_moves(reading: Reading, rule: Rule) -> str:
    if rule.writes is None:
        return "refused: activity is derived from the runs of the agent"
    moves = ", ".join(f"{move.axis} -> {move.to}" for move in rule.writes)
    closes = "; the session of its device is closed" if rule.axis is Axis.CONNECTIVITY else ""
    return f"`PATCH /v1/agents/{{name}}/as/{reading.vocabulary}` moves {moves}{closes}"
