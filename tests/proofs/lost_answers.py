"""A device of the oldest frames loses answers to its calls, in runs of a real hub that are started by hand.

``python -m tests.proofs.lost_answers`` (eight minutes) lets a device do all calls and not send some of the
answers. For each play and folder it prints a line with seconds and rows, and one with the words of
``hub runs show --follow``. It fails when a run is no success or takes more than MAX_LONGER_S longer than
without a loss, or a row is lost or doubled. A device that keeps no ids may double a row for each lost answer.
"""

import asyncio
import json
import math
import multiprocessing
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import anyio
from websockets.asyncio.client import connect

from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import check_boxes, rows, scene
from tests.support.processes import ROOT
from tests.support.programs import ending

ROWS: Final = 240
FILES: Final = (12, 1)  # of a folder, which has all rows together
MAX_LONGER_S: Final = 60.0
RUN_TIMEOUT: Final = "5m"
SHOWN: Final = ("outcome ", "reason ", "to mend it ", "files ")  # facts of a run that are printed


class Done(NamedTuple):
    """A call that is done and not yet answered: number *calls* of the run, and *inserts* of its inserts.

    *times*: how often the call of this id came.
    """

    is_insert: bool
    times: int
    calls: int
    inserts: int


class Play(NamedTuple):
    """Fault of a device: answers that it loses, after each of which it does not advance for *stall_s*.

    *is_forgetful*: it keeps no ids, so a call that comes again has another row.
    """

    loses: Callable[[Done], bool]
    is_forgetful: bool = False
    stall_s: float = 0.0


Name = Literal["no-loss", "each-20th", "each-first", "first-12", "first-12-inserts", "stall"]
NO_LOSS: Final[Name] = "no-loss"
PLAYS: Final[dict[Name, Play]] = {
    NO_LOSS: Play(lambda done: False),
    "each-20th": Play(lambda done: done.is_insert and done.inserts % 20 == 0),
    "each-first": Play(lambda done: done.times == 1),
    "first-12": Play(lambda done: done.calls <= 12),
    "first-12-inserts": Play(lambda done: done.is_insert and done.inserts <= 12),
    "stall": Play(lambda done: done.is_insert and done.inserts == 60, is_forgetful=True, stall_s=10.0),
}


class PlainDevice:
    """A device that was written from the oldest frames alone: it lists no capability.

    Files of a folder go out as ``agent_data``. Each ``tool_call`` is answered by a ``tool_result``. The rows
    are in a SQLite file, each with the id of its call; beside them are the answers, lost or sent.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, play: Play) -> None:
        self._folder, self._db, self._play = folder, db, play
        self._times: Counter[str] = Counter()
        self._inserts = 0
        self._db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, call TEXT, title TEXT)")
        self._db.execute("CREATE TABLE answers (call TEXT, is_insert INTEGER, is_lost INTEGER)")

    def replies(self, frame: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Do what a frame asks for; yield the frames that answer it."""
        if frame["type"] == "agent_run":
            endings = tuple(frame["config"].get("file_extensions", ()))
            for path in sorted(self._folder.rglob("*")):
                if path.is_file() and (not endings or path.name.endswith(endings)):
                    file = {"path": str(path), "content": path.read_text("utf-8")}
                    yield {"type": "agent_data", "run_id": frame["run_id"], "files": [file]}
            yield {"type": "agent_complete", "run_id": frame["run_id"]}
        elif frame["type"] == "tool_call":
            yield from self._answer(frame)

    def _answer(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        id, is_insert = call["id"], call["action"] == "insert"
        self._times[id] += 1
        self._inserts += is_insert
        with self._db:
            # A query is of approved rows, and there are none.
            result = self._insert(id, call["data"]["title"]) if is_insert else {"rows": []}
            done = Done(is_insert, self._times[id], self._times.total(), self._inserts)
            is_lost = self._play.loses(done)
            self._db.execute("INSERT INTO answers VALUES (?, ?, ?)", (id, is_insert, is_lost))
        if not is_lost:
            yield {"type": "tool_result", "id": id, "result": result}
        elif self._play.stall_s:
            time.sleep(self._play.stall_s)

    def _insert(self, call: str, title: str) -> dict[str, Any]:
        known = self._db.execute("SELECT id FROM rows WHERE call = ?", (call,)).fetchone()
        if known is None or self._play.is_forgetful:
            row = self._db.execute("INSERT INTO rows (call, title) VALUES (?, ?)", (call, title))
            known = (row.lastrowid,)
        return {"id": f"row-{known[0]}"}


def serve(url: str, token: str, folder: Path, database: Path, name: Name) -> None:
    """Be the device, in a process of its own, until the hub hangs up."""

    async def talk() -> None:
        with closing(sqlite3.connect(database)) as db:
            device = PlainDevice(folder, db, PLAYS[name])
            async with connect(url) as hub:
                await hub.send(json.dumps({"type": "device_hello", "device_id": "plain", "token": token}))
                async for message in hub:
                    for reply in device.replies(json.loads(message)):
                        await hub.send(json.dumps(reply))

    asyncio.run(talk())


class Outcome(NamedTuple):
    """Result of a run, which took *took_s* seconds (infinity: it did not end within RUN_TIMEOUT).

    *words*: what ``hub runs show --follow`` printed; *answers_lost*: of inserts and queries; *repeats*:
    inserts that were sent before; *lost*, *doubled*: number of rows.
    """

    took_s: float
    status: str
    words: str
    answers_lost: int
    repeats: int
    lost: int
    doubled: int

    def is_well(self, name: Name, longer_s: float) -> bool:
        """Return whether the run is within the bounds of a play."""
        most = self.answers_lost if PLAYS[name].is_forgetful else 0
        is_whole = self.lost == 0 and self.doubled <= most and self.status == "COMPLETED success"
        return is_whole and longer_s <= MAX_LONGER_S and (self.answers_lost == 0) is (name == NO_LOSS)

    def __str__(self) -> str:
        return (
            f"answers lost: {self.answers_lost}, inserts repeated: {self.repeats}; "
            f"rows lost: {self.lost}, doubled: {self.doubled}; {self.status}\n    hub runs show: {self.words}"
        )


async def _hub(folder: Path, *words: str) -> tuple[str, str]:
    """Return the standard output of a command of the hub, and its standard error, which is for people."""
    command = [sys.executable, "-m", "hub", "--state", str(folder), *words]
    done = await anyio.run_process(command, cwd=ROOT, check=False)
    return done.stdout.decode().strip(), done.stderr.decode().strip()


async def observe(folder: Path, name: Name, files: int) -> Outcome:
    """Let an agent read a folder in a run, at a hub of its own, and compare the rows with the folder."""
    texts, planted = check_boxes(files, each=ROWS // files)
    database = folder / "plain.db"
    async with scene(folder, texts) as play:
        url, token = f"{await play.hub.device_url()}/v1/device", await play.hub.token()
        device = (url, token, folder / "notes", database, name)
        process = multiprocessing.get_context("spawn").Process(target=serve, args=device, daemon=True)
        process.start()
        with ending(process):
            await play.has_connected()
            id, stderr = await _hub(folder, "run", "notes")
            assert id, stderr
            shown, stderr = await _hub(folder, "runs", "show", id, "--follow", "--timeout", RUN_TIMEOUT)
            ended = json.loads((await _hub(folder, "runs", "show", id, "--json"))[0])
    took_s = math.inf
    if ended["completed_at"]:
        began_at, ended_at = (datetime.fromisoformat(ended[f"{key}_at"]) for key in ("started", "completed"))
        took_s = (ended_at - began_at).total_seconds()
    facts = [" ".join(line.split()) for line in shown.splitlines() if line.startswith(SHOWN)]
    found = Counter(title for (title,) in rows(database, "SELECT title FROM rows"))
    inserts = rows(database, "SELECT count(*), count(DISTINCT call) FROM answers WHERE is_insert")
    return Outcome(
        took_s=took_s,
        status=f"{ended['state']} {ended['outcome']}",
        words="; ".join([*stderr.splitlines(), *facts]),
        answers_lost=rows(database, "SELECT count(*) FROM answers WHERE is_lost")[0][0],
        repeats=inserts[0][0] - inserts[0][1],
        lost=(Counter(planted) - found).total(),
        doubled=(found - Counter(planted)).total(),
    )


async def prove(folder: Path, *, play: Literal[Name, "all"] = "all") -> Verdict:
    """Lose answers of a device in each play, or in one, over both folders; without a loss first."""
    wrong = []
    for files in FILES:
        least_s = 0.0
        for name in get_args(Name):
            if play not in (name, "all") and name != NO_LOSS:
                continue
            outcome = await observe(folder / f"{name}-{files}", name, files)
            least_s = least_s or outcome.took_s
            longer_s, title = outcome.took_s - least_s, f"{name}, {files} x {ROWS // files} rows"
            sys.stdout.write(f"{title}: {outcome.took_s:.1f} s, {longer_s:.1f} s longer; {outcome}\n")
            sys.stdout.flush()
            wrong += [] if outcome.is_well(name, longer_s) else [title]
    load = f"load of the machine at the end: {os.getloadavg()[0]:.1f}"
    return f"out of bounds: {'; '.join(wrong) or 'none'}; {load}", not wrong


if __name__ == "__main__":
    run(prove)
