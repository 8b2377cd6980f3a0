"""``python -m tests.hub.device.sinks.pace [KIND ...]``: CPU time of one change among 1,250 and 5,000 rows.

Servers run in processes of their own, and only the thread that synchronizes counts. Each figure is the least
of three, and the last column is the largest figure of 5,000 rows by that of 1,250: at most about 4 if linear.
CalDAV has 250 and 1,000 rows.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Final

from hub.device import rows
from hub.device.sinks.caldav import CalDavTarget
from hub.device.sinks.rest import Rest
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import Synced, synchronize
from hub.device.sinks.target import Target
from hub.device.sinks.text_file import TextFile
from hub.device.sinks.web import Web, basic_authorization
from protocol.frame import Record
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, KINDS, manifest_at
from tests.hub.device.sinks.servers import TOKEN, Tasks, answering
from tests.support.radicale import PASSWORD, running_radicale

FEW, MANY = 1_250, 5_000
ROUNDS: Final = 3
_CALL: Final = (
    "INSERT INTO calls (call_id, action, at, answer, remarks, source_path)"
    " VALUES (?, 'insert', 0, '{}', ?, 'notes/a.md')"
)
_REVIEW: Final = "INSERT INTO reviews (tbl, row_id, call_id, written) VALUES ('tasks', ?, ?, '{}')"
_REMARKS: Final = '{"timezone":"Europe/Berlin"}'
Rename = Callable[[str, str], None]


@contextmanager
def place_of(kind: str, folder: Path) -> Iterator[tuple[Callable[[], Target], Rename]]:
    """Yield a function that opens a target of an empty place, and another that renames a row there."""
    path = folder / "there"
    if kind in FILES:
        form = FILES[kind][0]

        def rename(old: str, new: str) -> None:
            path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))

        yield lambda: TextFile(path, form()), rename
    elif kind == "caldav":
        with running_radicale() as radicale:
            user = radicale.fresh_user()
            url = radicale.make_calendar(user, "todo")
            stored = radicale.folder / "collections/collection-root" / user / "todo"

            def rename(old: str, new: str) -> None:
                (file,) = (one for one in stored.glob("*.ics") if f"{old}\r" in one.read_bytes().decode())
                text = file.read_bytes().decode().replace(old, new)
                text = text.replace("LAST-MODIFIED:2", "LAST-MODIFIED:3")
                radicale.ask(user, "PUT", f"/{user}/todo/{file.name}", text, kind="text/calendar")

            def opened() -> Target:
                return CalDavTarget(Web(url, lambda: basic_authorization(user, PASSWORD)), url, poll_s=0)

            yield opened, rename
    else:
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("fork").Process(target=_serve_tasks, args=(there,), daemon=True)
        server.start()
        manifest = manifest_at(f"http://127.0.0.1:{here.recv()}/api/v1")
        try:
            web = Web(manifest.url, lambda: f"Bearer {TOKEN}")
            yield lambda: Rest(web, manifest, poll_s=0), lambda old, new: here.send((old, new))
        finally:
            server.terminate()
            server.join()


def _serve_tasks(there: Connection) -> None:
    tasks = Tasks()
    tasks.page = 200
    with answering(tasks.answer) as port:
        there.send(port)
        while True:
            old, new = there.recv()
            for task in tasks.tasks.values():
                if task["content"] == old:
                    tasks.change(task["id"], {"content": new})


def fill(bench: SinkBench, count: int) -> list[str]:
    """Insert approved tasks that a hub found, and return their ids."""
    ids = [f"{number:032x}" for number in range(count)]
    with bench.open() as db:
        db.execute("BEGIN")
        for number, row_id in enumerate(ids):
            due = bench.at_ms + number % 90 * 86_400_000
            data: Record = {
                "title": f"Call number {number}",
                "description": f"about {number}",
                "dueDate": due,
            }
            flags: Record = {"isAiSuggested": 1, "isApproved": 1}
            rows.insert(db, TABLES["tasks"], row_id, data, bench.at_ms, flags=flags)
            db.execute(_CALL, (row_id, _REMARKS))
            db.execute(_REVIEW, (row_id, row_id))
        db.execute("COMMIT")
    return ids


def measure(kind: str, count: int) -> dict[str, float]:
    """Return the CPU time in seconds of a synchronization after each kind of change."""
    with TemporaryDirectory() as name, ExitStack() as opened:
        bench = SinkBench(Path(name))
        ids = fill(bench, count)
        open_target, rename = opened.enter_context(place_of(kind, Path(name)))
        db = opened.enter_context(bench.open())
        target = open_target()

        def spent(changed: Target, *, written: int = 0, taken_back: int = 0) -> float:
            bench.clock.advance(60)
            before = thread_time()
            synced: Synced = synchronize(db, Sink("there", changed, ("tasks",), kind=kind), bench.clock.now())
            cpu = thread_time() - before
            found = (synced.problem, synced.written, synced.taken_back)
            assert found == ("", written, taken_back), found
            return cpu

        first = spent(target, written=count)
        second = spent(target)
        found: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            bench.change(ids[number], {"title": f"Ring {number}"})
            found.setdefault("written", []).append(spent(target, written=1))
            spent(target)
            rename(f"Call number {count - 1 - number}", f"Called {number}")
            found.setdefault("read back", []).append(spent(target, taken_back=1))
            spent(target)
            found.setdefault("unchanged", []).append(spent(target))
            target = open_target()
            found.setdefault("new process", []).append(spent(target))
        least = {name: min(values) for name, values in found.items()}
        return {"first": first, "second": second} | least


def main(kinds: Sequence[str]) -> None:
    """Print a row for each kind."""
    sys.stdout.write("kind        rows   first  second  written read back unchanged new process ratio\n")
    ratios = {}
    for kind in kinds or KINDS:
        # a server that stores each object in a file takes minutes for more
        counts = (FEW // 5, MANY // 5) if kind == "caldav" else (FEW, MANY)
        few, many = measure(kind, counts[0]), measure(kind, counts[1])
        ratios[kind] = ratio = max(many[name] / few[name] for name in ("written", "read back"))
        cells = zip(many.values(), (7, 7, 8, 9, 9, 11), strict=True)
        figures = " ".join(f"{cpu:{width}.3f}" for cpu, width in cells)
        sys.stdout.write(f"{kind:9} {counts[1]:6} {figures} {ratio:5.1f}\n")
        sys.stdout.flush()
    worst = max(ratios, key=ratios.__getitem__)
    sys.stdout.write(
        f"{len(ratios)} kinds: with {MANY // FEW} times the rows one change costs at most"
        f" {ratios[worst]:.1f} times as much ({worst})\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
