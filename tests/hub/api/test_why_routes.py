"""Reasons of files over REST: whose they are, and what they say while no device is connected."""

import unicodedata

import httpx2
import pytest
import sqlalchemy as sa

from hub.api.resources import why
from hub.api.resources.why import informative
from hub.base.clock import utc_text
from hub.runs.file_explanations import Reason
from protocol.ids import RunId
from protocol.lifecycles import RunOutcome, RunState
from storage.agents import agents
from storage.devices import devices
from storage.runs import runs
from storage.schema import agents as agents_table
from storage.schema import run_units, unit_ledger
from tests.support.hub import ServedHub


async def test_why_of_an_offline_device_file_reports_the_last_result(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1", RunState.CANCELLED)
    await hub.run("r-2", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
    (desk,) = await hub.store.read(devices.devices_called, "desk")
    await hub.disconnect(desk)
    await hub.agent("letters", user_id=await hub.user("anna"))
    await hub.user("ben")
    row = {"run_id": "r-1", "unit_key": "notes/a.md", "content_hash": "h", "state": "FAILED"}
    stored: dict[str, object] = {**row, "error": "it is locked", "updated_at": 9_000_000_000_000}
    await hub.store.write(lambda c: c.execute(sa.insert(run_units), [stored]).rowcount)
    written = ("notes/a.md", "./notes/a.md", "notes/a.md:7")
    whole = ("/home/owner/notes/a.md", "~/shared/notes/a.md", r"C:\shared\notes\a.md")
    for path in written + whole:
        asked = {"path": path, "user": "owner"}
        (reason,) = (await client.get("/v1/why", params=asked)).json()["reasons"]
        assert (reason["agent"], reason["path"], reason["code"]) == ("notes", "notes/a.md", "device_away")
        assert "it is locked" in reason["because"] and "hub connect" in reason["remedy"]
    for path in ("x/notes/a.md", "q/r/notes/a.md", "x/a.md", "ole.md"):
        (reason,) = (await client.get("/v1/why", params={"path": path, "user": "owner"})).json()["reasons"]
        assert (reason["path"], "it is locked" in reason["because"]) == (path, False)
    # Another run ended well after the failure, which is over; the entry was tried later than by its run.
    notes = await hub.store.read(agents.agent_called, "notes", None)
    tried = {"config_fingerprint": "f", "done_at": 9_000_000_000_000}
    entry = {
        "agent_id": notes.id,
        "unit_key": "notes/a.md",
        "run_id": "r-2",
        "content_hash": "h",
        **tried,
    }
    decomposed = unicodedata.normalize("NFD", "notes/2026-11 Conseil d'école.md")
    entries = [entry, {**entry, "unit_key": decomposed}, {**entry, "unit_key": "notes/of an old école.md"}]
    await hub.store.write(lambda c: c.execute(sa.insert(unit_ledger), entries).rowcount)
    for path, key in (
        ("notes/2026-11 Conseil d'école.md", decomposed),
        ("D\u2019École.md", decomposed),
        ("conseil d'école.md:7", decomposed),
        ("d'école", "d'école"),
        ("cole.md", "cole.md"),
        ("école.md", "école.md"),  # of two files
    ):
        (reason,) = (await client.get("/v1/why", params={"path": path, "user": "owner"})).json()["reasons"]
        assert reason["path"] == key, path
    await hub.store.write(lambda c: c.execute(sa.update(run_units).values(updated_at=1)).rowcount)
    (reason,) = (await client.get("/v1/why", params={"path": "notes/a.md", "agent": "notes"})).json()[
        "reasons"
    ]
    ended = (await hub.store.read(runs.get_run, RunId("r-2"))).completed_at
    assert f"run r-2 read it at {utc_text(ended or 0)}" in reason["because"], reason
    for asked in ({"user": "anna", "agent": "notes"}, {"user": "ben"}, {"agent": "nobody"}):
        refused = await client.get("/v1/why", params={"path": "notes/a.md", **asked})
        assert refused.status_code == 404, asked
    (reason,) = (await client.get("/v1/why", params={"path": "a.md", "user": "anna"})).json()["reasons"]
    assert (reason["agent"], reason["run_id"]) == ("letters", None)
    assert (await client.get("/v1/why")).status_code == 422
    for place in ("0", "abc", "-1", ""):
        refused = await client.get("/v1/why", params={"path": f"notes/a.md:{place}"})
        assert (refused.status_code, f"'{place}' is no line" in refused.text) == (422, True), place


async def test_why_finds_an_agent_behind_pages_of_agents_without_files(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "MAX_EXAMINED", 1)
    anna = await hub.user("anna")
    for name in ("a", "b", "letters"):
        await hub.agent(name, user_id=anna)
    without = sa.update(agents_table).where(agents_table.c.name.in_(("a", "b"))).values(data_types=[])
    await hub.store.write(lambda c: c.execute(without).rowcount)
    found = (await client.get("/v1/why", params={"path": "a.md", "user": "anna"})).json()["reasons"]
    assert [reason["agent"] for reason in found] == ["letters"]


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        ("settled missing outside_paths", "settled"),
        ("settled device_away", "settled device_away"),
        ("not_sent device_away", "not_sent device_away"),
        ("missing busy elsewhere cannot_run not_granted", "missing busy elsewhere cannot_run not_granted"),
        ("missing outside_shared", "missing outside_shared"),
        ("unread not_sent busy", "unread busy"),
        ("settled no_message", "settled"),
        ("device_away no_message", "device_away"),
        ("no_message no_message", "no_message no_message"),
    ],
)
def test_agent_unable_to_look_hides_no_answer_about_the_file(codes: str, shown: str) -> None:
    found = [
        [Reason(agent="a", device="d", path="b.md", code=code, because="", remedy="")]
        for code in codes.split()
    ]
    assert [reason.code for reason in informative(found)] == shown.split()
