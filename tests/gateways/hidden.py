"""After all of it: no token stands in the hub's log or database, in a letter, or in the gateway's log."""

import anyio

from tests.evaluation.figures import Figure, exactly, only
from tests.gateways.place import Place


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    secrets = [place.gateway.token, *place.tokens, await place.token_of(await place.main_agent())]
    hub, gateway = anyio.Path(place.folder / "hub"), anyio.Path(place.folder / "gateway")
    where = {
        "the hub's log": [hub / "hub.log"],
        "the hub's database": [path async for path in hub.glob("hub.db*")],
        "the gateway's log": [gateway / "gateway.log"],
    }
    figures = [only("tokens looked for", str(len(secrets)))]
    for name, paths in where.items():
        text = b"".join([await path.read_bytes() for path in paths])
        figures.append(exactly(f"  in {name}", sum(secret.encode() in text for secret in secrets)))
    letters = "".join(place.model.prompts)
    return [*figures, exactly("  in what agents were told", sum(secret in letters for secret in secrets))]
