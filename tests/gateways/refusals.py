"""What a gateway refuses: who asked is told so, by a stable code, and nothing is kept that never was."""

from http import HTTPStatus
from typing import Any

from tests.evaluation.figures import Figure, exactly
from tests.gateways.place import PATIENCE_S, Place, until


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    worker = place.word("refused")
    board = await place.board(worker)
    path = f"/v1/boards/{board['id']}/agents/{worker}"
    workspace = place.gateway.workspace(worker)
    (workspace / "SOUL.md").unlink()
    (workspace / "SOUL.md").symlink_to(workspace / "USER.md")  # a gateway reads none through a link
    unsafe = await place.ask("GET", f"{path}/soul")
    (workspace / "SOUL.md").unlink()
    missing = await place.do("GET", f"{path}/soul")
    empty = await place.ask("PUT", f"{path}/soul", {"content": " \n"})
    void = await place.ask("POST", f"{path}/nudge", {"content": "  "})
    nul = await place.ask("POST", f"{path}/nudge", {"content": "a\x00b"})
    figures = [
        _refused("a SOUL.md that is a link", unsafe, HTTPStatus.BAD_GATEWAY, "gateway_refused"),
        exactly("a SOUL.md that is missing is told as none", int(missing["sha256"] is None), 1),
        exactly("an empty SOUL.md is refused here", empty.status_code, HTTPStatus.UNPROCESSABLE_ENTITY),
        exactly("an empty nudge is refused here", void.status_code, HTTPStatus.UNPROCESSABLE_ENTITY),
        exactly("a nudge with a NUL in it is refused here", nul.status_code, HTTPStatus.UNPROCESSABLE_ENTITY),
    ]
    return [*figures, *await _of_nobody(place, path, worker)]


async def _of_nobody(place: Place, path: str, worker: str) -> list[Figure]:
    """The agent is removed at the gateway behind the hub's back."""
    async with place.gateway.witness() as witness:
        await witness.ask("agents.delete", agentId=worker, deleteFiles=False)

        async def gone() -> bool | None:
            return None if worker in await witness.agents() else True

        await until(gone, PATIENCE_S)
    soul = await place.ask("GET", f"{path}/soul")
    nudge = await place.ask("POST", f"{path}/nudge?wait_s=60", {"content": "Is somebody there?"})
    return [
        _refused("the soul of an agent that is gone there", soul, HTTPStatus.BAD_GATEWAY, "gateway_refused"),
        _refused("a nudge to it", nudge, HTTPStatus.BAD_GATEWAY, "gateway_refused"),
    ]


def _refused(name: str, answer: Any, status: int, code: str) -> Figure:
    told = answer.json()
    found = f"{answer.status_code} {told.get('code', told.get('state'))}"
    return Figure(
        name, found, f"= {status:d} {code}", (answer.status_code, told.get("code")) == (status, code)
    )
