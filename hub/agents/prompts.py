"""Variables in prompts (``{{ project }}``): which names exist, and their replacement by values.

A variable is a name between double braces. It is replaced by a value that is known at the creation of a run.
Conditions and loops are not supported, and a value that looks like a variable is not replaced again. A prompt
without ``{{`` stays unchanged.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from protocol.errors import ErrorCode, HubError
from protocol.similar_names import did_you_mean
from storage.agents.agent_snapshot import Setup

OPENS: Final = "{{"
_VARIABLE: Final = re.compile(r"\{\{(?:[ \t]*([A-Za-z_][\w.-]*)[ \t]*\}\})?", re.ASCII)
# defined by the hub; they override configs
OWN: Final = ("agent", "data_types", "device", "timezone", "user")


class BadPrompt(HubError):
    """The prompt has unknown variables or malformed braces. The message lists all of them."""

    code = ErrorCode.BAD_CONFIG


def variables_of(setup: Setup, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the variables for an agent's prompt: its configuration, and values of the hub.

    Args:
        parameters: of a run, which override the configuration.
    """
    return {
        **setup.configuration,
        **(parameters or {}),
        "agent": setup.name,
        "data_types": ", ".join(setup.data_types),
        "device": setup.device,
        "timezone": setup.timezone,
        "user": setup.user,
    }


def rendered(prompt: str, variables: Mapping[str, Any]) -> str:
    """Return *prompt* with its variables replaced: text unchanged, other values as JSON.

    Raises:
        BadPrompt: the prompt has an unknown variable or malformed braces.
    """
    if wrong := problems_in(prompt, variables):
        raise BadPrompt("; ".join(wrong))
    return _VARIABLE.sub(lambda found: _text(variables[found[1]]), prompt)


def problems_in(prompt: str, known: Mapping[str, Any] | None) -> list[str]:
    """Return the errors in *prompt* given the *known* variables; None allows any variable."""
    wrong: list[str] = []
    for found in _VARIABLE.finditer(prompt):
        name = found[1]
        if name is None:
            line = prompt.count("\n", 0, found.start()) + 1
            wrong.append(f"prompt, line {line}: '{{{{' opens no variable; write {{{{ name }}}}")
        elif known is not None and name not in known:
            hint = did_you_mean(name, known)
            listed = ", ".join(sorted(known))
            wrong.append(f"prompt: there is no variable '{name}';{hint and ' ' + hint} known are {listed}")
    return list(dict.fromkeys(wrong))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
