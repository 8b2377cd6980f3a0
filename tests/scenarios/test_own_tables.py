"""A table that hub.toml declares, from the settings through model and device to its owner's approval."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import anyio

from tests.scenarios.scene import Scene, rows, scene
from tests.scenarios.test_verdicts import GRANT, come, give, ids
from tests.support.oracle import Oracle
from tests.support.oracle.asker import text_of
from tests.support.oracle.planted import Record
from tests.support.oracle.traits import Fault
from tests.support.processes import POLL_S

TABLE: Final = """
[[tables]]
name = "contacts"
description = "a person or a company with an address"
key = ["name", "company"]
needs = ["email"]
fields = [
  { name = "name", description = "full name" },
  { name = "company" },
  { name = "phone" },
  { name = "email" },
  { name = "kind", choices = ["customer", "supplier"] },
  { name = "met", type = "date" },
]

[[agents]]
name = "people"
device = "desk"
paths = ["notes"]
data_types = ["contacts"]
prompt = "Find the people."
"""
ADA: Final = "Met Ada Lovelace of Engines, phone 555-0101, email ada@example.org on 3 March 2026."
FILES: Final = {
    "trip.md": f"# Trip\n\n{ADA}\n\nMet Bob Rusk of Borders, phone 555-0102, email none on 4 March 2026.\n",
    "again.md": f"Seen again at the fair: {ADA}\n",
}
_MET: Final = re.compile(r"Met ([\w ]+) of (\w+), phone ([\d-]+), email (\S+) on ([\w ]+)\.")


class PeopleModel(Oracle):
    """A model that knows how the files above tell of people."""

    def _records(self, request: dict[str, Any], fault: Fault | None) -> list[Record]:
        found = []
        for match in _MET.finditer(text_of(request)):
            name, company, phone, email, met = match.groups()
            record = {"table": "contacts", "quote": match[0], "name": name, "company": company}
            more = {"phone": phone, "email": email if "@" in email else None, "kind": None, "met": met}
            found.append(record | more)
        return found


async def hub_review(play: Scene, *words: str) -> str:
    command = [sys.executable, "-m", "hub", "review", "--db", str(play.device.database), *words]
    done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def reloaded(play: Scene, before: str, after: str) -> None:
    """Change hub.toml and wait until the hub uses it."""
    path = play.folder / "hub.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    answer = await play.hub.ask("POST", "/v1/reload")
    assert answer.status_code == 200, answer.text


async def run(play: Scene) -> dict[str, Any]:
    return await play.hub.ended(await play.hub.start_run("people"))


async def test_declared_table_goes_from_settings_to_the_device(tmp_path: Path) -> None:
    async with scene(tmp_path, FILES, oracle=PeopleModel(), settings=TABLE) as play:
        play.device.words = [*play.device.words, f"--grant=+{GRANT}"]
        await play.device.start()
        ended = await run(play)
        assert (ended["outcome"], ended["items_created"]) == ("success", 2), (
            ended["reason"],
            ended["errors"],
        )
        names = (
            "SELECT name, company, phone, email, met, isAiSuggested, isApproved FROM contacts ORDER BY name"
        )
        ada = ("Ada Lovelace", "Engines", "555-0101", "ada@example.org", 1772496000000, 1, 0)
        bob = ("Bob Rusk", "Borders", "555-0102", None, 1772582400000, 1, 0)
        assert rows(play.device.database, names) == [ada, bob]

        # At the hub: listed by table, and what an approval lacks and may have comes from the declaration.
        items = (await play.hub.get("/v1/items?table=contacts"))["items"]
        by_title = {item["title"]: item["id"] for item in items}
        assert sorted(by_title) == ["Ada Lovelace", "Bob Rusk"]
        shown = await play.hub.get(f"/v1/items/{by_title['Bob Rusk']}")
        assert shown["lacks"] == ["email"]
        fields = {field["name"]: field for field in shown["fields"]}
        assert list(fields) == ["name", "company", "phone", "email", "kind", "met"]
        assert fields["kind"]["choices"] == ["customer", "supplier"]
        assert fields["email"]["is_needed"]
        declared = {table["name"]: table for table in (await play.hub.get("/v1/tables"))["tables"]}
        assert (next(iter(declared)), declared["contacts"]["fields"]) == ("contacts", shown["fields"])
        (refused,) = await give(play, "approve", [by_title["Bob Rusk"]])
        assert "contacts.email: is required" in refused["error"]["message"]
        data = {"email": "bob@example.org", "kind": "supplier"}
        assert (await give(play, "approve", [by_title["Bob Rusk"]], data=data))[0]["state"] == "pending"
        await come(play, [by_title["Bob Rusk"]], "done")

        # At the device: shown in words, approved, and listed for other programs.
        listed = await hub_review(play, "ls")
        assert "contacts  Ada Lovelace" in listed
        assert "company Engines, phone 555-0101, email ada@example.org, met 2026-03-03" in listed
        (waiting,) = json.loads(await hub_review(play, "ls", "--json"))["items"]
        await hub_review(play, "approve", waiting["label"])
        exported = json.loads(await hub_review(play, "ls", "--all", "--json"))["items"]
        assert {(item["table"], item["title"], item["data"].get("kind")) for item in exported} == {
            ("contacts", "Ada Lovelace", None),
            ("contacts", "Bob Rusk", "supplier"),
        }
        assert [row[-1] for row in rows(play.device.database, names)] == [1, 1]

        # A changed declaration reads the files again and adds a column; nothing comes twice.
        await reloaded(play, '  { name = "phone" },\n', '  { name = "birthday", type = "date" },\n')
        again = await run(play)
        assert (again["outcome"], again["units_done"], again["items_created"]) == ("success", 2, 0), (
            again["reason"],
            again["errors"],
        )
        assert [row[1] for row in rows(play.device.database, "PRAGMA table_info(contacts)")][-1] == "birthday"
        assert [row[2] for row in rows(play.device.database, names)] == ["555-0101", "555-0102"]
        assert len(await ids(play)) == 2

        # A table that an agent uses cannot be taken away; without its agent it can, and its items stay.
        path = play.folder / "hub.toml"
        text = path.read_text()
        table = text[text.index("\n[[tables]]") : text.index('\n[[agents]]\nname = "people"')]
        path.write_text(text.replace(table, ""))
        assert "there is no table 'contacts'" in (await play.hub.ask("POST", "/v1/reload")).text
        path.write_text(text[: text.index("\n[[tables]]")])
        with anyio.fail_after(30):
            while (await play.hub.ask("POST", "/v1/reload")).status_code != 200:
                await anyio.sleep(POLL_S)
        left = (await play.hub.get("/v1/items?table=contacts"))["items"]
        assert {item["title"] for item in left} == {"Ada Lovelace", "Bob Rusk"}
