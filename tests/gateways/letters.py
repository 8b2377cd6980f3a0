"""What an agent at the gateway does with a letter: it answers over HTTP, with a token of its own."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.gateways.place import Place
from tests.gateways.scripted_model import Run

_POST: Final = re.compile(r"^POST (\S+)$", re.MULTILINE)
_BODY: Final = re.compile(r"^Body: (\{.*\})$", re.MULTILINE)


async def token_file(place: Place, agent: str) -> Path:
    """Where *agent* finds its token, as a person would have put it there: not in any letter."""
    path = place.folder / f"token-of-{agent}"
    path.touch(mode=0o600)
    path.write_text(await place.token_of(agent))
    return path


def answer(content: str, token: Path) -> Callable[[str], Run]:
    """Do what the letter asks for: post *content* as it says."""

    def run(letter: str) -> Run:
        url, body = _POST.findall(letter)[-1], json.loads(_BODY.findall(letter)[-1])
        said = shlex.quote(json.dumps({**body, "content": content}))
        headers = f'-H "Authorization: Bearer $(cat {token})" -H "Content-Type: application/json"'
        return Run(f"curl --silent --show-error --fail-with-body -X POST {url} {headers} --data {said}")

    return run
