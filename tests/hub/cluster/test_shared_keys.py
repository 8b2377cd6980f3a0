"""Two hubs on one PostgreSQL: the keys of sign-ins go from one to the other through the database."""

from pathlib import Path

from hub.accounts.sealing_keys import FILE
from hub.api.resources.sealing_keys import KeysResource
from protocol.ids import NodeId
from storage import audit
from storage.devices import nodes
from tests.support.hub import nodes_of, over_unix
from tests.support.postgres import Postgres

WEST = NodeId("node-west")


async def test_node_takes_over_keys_sealed_by_another_node_for_the_own_code(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        async with (
            nodes_of(tmp_path, url, "node-east", "node-west") as (east, west),
            over_unix(east) as client,
        ):
            there = west.resource(KeysResource)
            (given,) = (await client.get("/v1/keys")).json()["keys"]
            code = there._accounts.keys.code()
            share = {"node": "node-west", "code": code}
            assert (await client.post("/v1/keys/share", json=share)).json() == {"node_id": "node-west"}
            sealed = await west.store.read(nodes.given_keys, WEST)
            assert sealed is not None
            assert code.encode() not in sealed
            await there._sharing.receive_keys()
            assert (await there.all()).keys[0].id == given["id"]
            assert (east.folder / FILE).read_text().split()[-1] in (west.folder / FILE).read_text()
            assert await west.store.read(nodes.given_keys, WEST) is None

            await client.post(
                "/v1/keys/share",
                json={"node": "node-west", "code": east.resource(KeysResource)._accounts.keys.code()},
            )
            await there._sharing.receive_keys()
            events = await east.store.read(audit.list_entries, limit=4, event="keys.")
            told = [(one.event, one.outcome) for one in events]
            assert told == [
                ("keys.taken", "refused"),
                ("keys.shared", "done"),
                ("keys.taken", "done"),
                ("keys.shared", "done"),
            ]
            for body, status in (
                ({"node": "node-east", "code": code}, 403),
                ({"node": "node-north", "code": code}, 404),
                ({"node": "node-west", "code": "short"}, 422),
                ({"node": "node-west", "code": "-".join(reversed(code.split("-")))}, 422),
            ):
                assert (await client.post("/v1/keys/share", json=body)).status_code == status
