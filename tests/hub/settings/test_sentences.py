"""Whatever is written into a field, what is wrong with it is said in words for whoever wrote it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from hub.settings.agent_settings import AgentSettings, ScheduleTable
from hub.settings.limit_settings import TlsSettings
from hub.settings.problems import KeyPath
from hub.settings.reading import check_text
from hub.settings.schema import leaves
from hub.settings.settings import LocalModelSettings, OpenAIModelSettings
from hub.settings.values import SecretRef
from tests.support.families import each

# How pydantic speaks, which knows Python and not hub.toml.
RAW = re.compile(
    r"\b([Ii]nput should|[Ss]tring should|[Vv]alue (error|should)|[Tt]uple|dict|Model\b|JSON|Python)"
)
AGENT: dict[str, Any] = {
    "name": "n",
    "device": "d",
    "paths": ["p"],
    "data_types": ["tasks"],
    "prompt": "x",
    "schedule": {"every_s": 900},
}
OPENAI = {"kind": "openai", "base_url": "https://host/v1", "name": "m"}
TLS = {"certificate": "c", "key": "k"}
WRONG: list[Any] = [
    *(0, -1, 1, 10**15, 1.5, -0.5, float("nan"), float("inf"), True, "", "x", "x" * 70_000, "ü\0"),
    *([], [1], [""], ["x" * 9_000], [[]], {}, {"x": 1}, datetime(2026, 1, 1, tzinfo=UTC)),
]
FIELDS: list[tuple[KeyPath, dict[str, Any]]] = [
    *(
        (leaf.path, {})
        for leaf in leaves()
        if leaf.path not in (("agents",), ("model",), ("fallback_models",))
    ),
    *((("agents", 0, *leaf.path), {"agents": [AGENT]}) for leaf in leaves(AgentSettings)),
    *((("agents", 0, "schedule", *leaf.path), {"agents": [AGENT]}) for leaf in leaves(ScheduleTable)),
    *((("model", *leaf.path), {"model": OPENAI}) for leaf in leaves(OpenAIModelSettings)),
    *((("model", *leaf.path), {"model": {"kind": "local"}}) for leaf in leaves(LocalModelSettings)),
    *(
        (("fallback_models", 0, *leaf.path), {"model": OPENAI, "fallback_models": [OPENAI]})
        for leaf in leaves(OpenAIModelSettings)
    ),
    *((("model", "api_key", name), {"model": OPENAI | {"api_key": {}}}) for name in SecretRef.model_fields),
    *(
        (("listen", "devices", "tls", *leaf.path), {"listen": {"devices": {"tls": TLS}}})
        for leaf in leaves(TlsSettings)
    ),
    (("agents",), {}),
    (("model",), {}),
    (("fallback_models",), {"model": OPENAI}),
]


def put(doc: Any, path: KeyPath, value: Any) -> Any:
    """A copy of *doc* with *value* at *path*."""
    if not path:
        return value
    first, *rest = path
    if isinstance(first, int):
        return [put(doc[first], tuple(rest), value)]
    return {**doc, first: put(doc.get(first, {}), tuple(rest), value)}


@pytest.mark.slow
@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.soak)])
@each(("number", "path", "around"), [(number, *field) for number, field in enumerate(FIELDS)])
def test_no_raw_message_reaches_a_person(
    number: int, path: KeyPath, around: dict[str, Any], share: int
) -> None:
    for value in WRONG[number % share :: share]:
        text = tomli_w.dumps(put(around, path, value))
        for problem in check_text(text, Path("hub.toml"), environ={}).problems:
            assert not RAW.search(problem.message + problem.hint), (str(problem)[:300], str(value)[:30])
            assert "\n" not in str(problem)
            assert problem.line
