"""Each text that the page of vocabularies limits is accepted up to its limit, and refused beyond."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.seeds.orchestrator import APOLLO
from tests.seeds.walk import OF_WALK, walking
from tests.support.vocabulary_page import LIMITS

pytestmark = pytest.mark.slow

Request = tuple[str, str, Any]  # verb, path, body
AS: Final = "agents/mail/as"
SOUL: Final = "boards/garden/agents/notes/soul?wait_s=0"


def _patch(vocabulary: str, column: str) -> Callable[[str], Request]:
    return lambda text: ("PATCH", f"{AS}/{vocabulary}", {column: text})


def _put(path: str, name: str, **more: Any) -> Callable[[str], Request]:
    return lambda text: ("PUT", path, {name: text} | more)


def _post(path: str, name: str, **more: Any) -> Callable[[str], Request]:
    return lambda text: ("POST", path, {name: text} | more)


def _object(request: Callable[[Any], Request]) -> Callable[[str], Request]:
    """Return a request with an object that has as many bytes as JSON as the text has characters."""
    return lambda text: request({"of": text[len('{"of":""}') :]})


ASK: Final = "boards/garden/ask-user"
REQUESTS: Final[dict[str, Callable[[str], Request]]] = {
    "agents.agent_id": _patch("calendar", "agent_id"),
    "agents.claw_identifier": _patch("calendar", "claw_identifier"),
    "agent.name": _patch("orchestrator", "name"),
    "agent.description": _patch("orchestrator", "description"),
    "agent.prompt_template": _patch("orchestrator", "prompt_template"),
    "agent_template.name": lambda text: ("PUT", f"templates/{text}", {}),
    "agent_template.description": _put("templates/polite", "description"),
    "agent_template.prompt_template": _put("templates/polite", "prompt"),
    "agent_state_history.reason": lambda text: (
        *("PATCH", f"{AS}/orchestrator"),
        {"status": "ERROR", "reason": text},
    ),
    "agent_checkpoint.state_data": _object(_put("agents/mail/checkpoints/agent", "state", sequence=1)),
    "agent_execution.task_id": _post("agents/mail/runs", "task_id"),
    "agent_execution.parameters": _object(_post("agents/mail/runs", "parameters")),
    "agent_execution.context": _object(_post("agents/mail/runs", "context")),
    "agent_states.metadata": _object(lambda of: ("PATCH", f"{AS}/foundation", {"metadata": of})),
    "agent_configs.config_key": lambda text: ("PUT", f"agents/mail/config/{text}", {"value": 1}),
    "agent_configs.config_value": _put("agents/mail/config/key", "value"),
    "agent_configs.description": _put("agents/mail/config/other", "description", value=1),
    "agent_capabilities.capability_name": lambda text: ("PUT", f"agents/mail/capabilities/{text}", {}),
    "agent_capabilities.capability_version": lambda text: (
        *("PUT", f"agents/mail/capabilities/web/1.0.0-{text.removeprefix('1.0.0-'[: len(text)])[6:]}", {}),
    ),
    "agent_capabilities.config": _object(_put("agents/mail/capabilities/web", "config")),
    "agent_capabilities.description": _put("agents/mail/capabilities/web", "description"),
    "agent_metrics.metric_name": lambda text: (
        *("POST", "agents/mail/metrics"),
        {"samples": [{"name": text, "value": 1}]},
    ),
    "config.name": _patch("runlog", "name"),
    "config.prompt_template": _patch("runlog", "prompt_template"),
    "content of a message": _post("boards/garden/agents/notes/nudge?wait_s=0", "content"),
    "content of a soul": _put(SOUL, "content"),
    "content of a memory item": _post("boards/garden/memory", "content"),
    "correlation_id": _post(ASK, "correlation_id", content="Which hedge?"),
    "preferred_channel": _post(ASK, "preferred_channel", content="Which hedge?"),
    "reply_source": _post(ASK, "reply_source", content="Which hedge?"),
    "each of reply_tags": lambda text: ("POST", ASK, {"content": "Which hedge?", "reply_tags": [text]}),
    "reason of a soul": _put(SOUL, "reason", content="I dig."),
    "source_url of a soul": _put(SOUL, "source_url", content="I dig."),
}


async def test_each_text_is_accepted_up_to_the_limit_listed_on_the_page(tmp_path: Path) -> None:
    assert [*REQUESTS] == [*LIMITS]
    wrong = dict[str, tuple[int, int]]()
    async with walking(tmp_path) as walk:
        await walk.put("templates/polite", {})
        given = {"name": "mail", "type": "PLANNER", "project_id": APOLLO, "device": "desk"}
        await walk.post("agents", given | OF_WALK)
        await walk.post("boards", {"name": "garden"})
        await walk.post("boards/garden/agents", {"agent": "notes"})
        for name, request in REQUESTS.items():
            limit, _ = LIMITS[name]
            # The longer one first: a soul that waits keeps others back.
            answers = [await walk.send(*request("a" * length)) for length in (limit + 1, limit)]
            beyond, within = (answer.status_code for answer in answers)
            is_busy = within == 409 and "soul_busy" in answers[1].text
            if beyond not in (409, 413, 422) or not (within < 400 or is_busy):
                wrong[name] = (beyond, within)
    assert wrong == {}
