"""Times at which a device was connected, with the program and the folders that its hello names."""

from datetime import timedelta

import httpx2

from hub.links.device_link import RoundTrip
from protocol.handshake import Client
from tests.support.clock import START
from tests.support.hub import ServedHub
from tests.support.identity import EndedLink

HOUR_S = 3_600


async def test_device_presence_lists_connection_intervals_client_and_skew(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    desk = await hub.device("desk")
    hub.clock.advance(HOUR_S)
    await hub.disconnect(desk)
    hub.clock.advance(HOUR_S)
    link = await hub.connect(desk)
    assert isinstance(link, EndedLink)
    link.client, link.roots = Client(name="hub-device", version="0.1.0"), ("~/notes",)
    assert (await client.get("/v1/devices/desk")).json()["skew"] is None
    link.skew = "update the hub"
    assert (await client.get("/v1/devices/desk")).json()["round_trip"] is None
    link.round_trip = RoundTrip(0.012_345_6, age_s=HOUR_S)
    hub.clock.advance(HOUR_S)
    found = (await client.get("/v1/devices/desk/presence")).json()
    at = [(START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z") for hours in range(3)]
    assert (found["is_known"], found["is_cut"]) == (True, False)
    assert found["intervals"] == [{"since": at[2], "until": None}, {"since": at[0], "until": at[1]}]
    later = (START + timedelta(minutes=90)).isoformat()
    since = (await client.get("/v1/devices/desk/presence", params={"since": later})).json()
    assert since["intervals"] == [{"since": at[2], "until": None}]
    shown = (await client.get("/v1/devices/desk")).json()
    assert (shown["client"], shown["roots"]) == ({"name": "hub-device", "version": "0.1.0"}, ["~/notes"])
    assert shown["skew"] == "update the hub"
    assert shown["round_trip"] == {"ms": 12.346, "measured_at": at[2]}
    assert (await client.get("/v1/devices")).json()["devices"][0]["round_trip"] == shown["round_trip"]
    await hub.device("lab")
    unknown = (await client.get("/v1/devices/lab/presence")).json()
    assert (unknown["is_known"], unknown["intervals"]) == (False, [])
    await hub.disconnect(desk)
    gone = (await client.get("/v1/devices/desk")).json()
    assert (gone["client"], gone["round_trip"]) == (None, None)
