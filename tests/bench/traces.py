"""``python -m tests.bench.traces [-v]``: functions, files and transactions of requests to a real hub.

A request is traced from ``Access``, which the HTTP server calls, to its response, in the event loop's thread
and in the database's. Counted are distinct functions of the project, without comprehensions. The path to a
row are the functions on the two stacks from ``Access`` to the statement that inserts it: on that of the event
loop when it queues the job, and on that of the database's thread when it runs the statement.
"""

import os
import signal
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any, Final

import httpx2
import sqlalchemy as sa
from starlette.types import Receive, Scope, Send

from hub.api.door.access import Access
from hub.app.daemon import run
from hub.settings.settings_file import SettingsFile, open_settings
from storage.kernel import sqlite
from tests.support.database import new_database
from tests.support.processes import ROOT, SETTINGS

_PACKAGES: Final = tuple(f"{ROOT / name}/" for name in ("hub", "storage", "protocol"))
_REPEATS: Final = 5  # the log and other services may come between; the smallest trace is the request's own
_TRACED: Final = ContextVar("_TRACED", default=False)
_REQUESTS: Final = (("GET", "/v1/agents/notes/status"), ("POST", "/v1/agents/notes/runs"))
_ROW: Final = "INSERT INTO runs "
_QUEUED: Final = sqlite.SqliteDatabase.write.__code__
_SENT: Final = sqlite._Session.in_thread.__code__
_READ, _WRITTEN = sqlite._Session.run_read.__code__, sqlite._Session.run_batch.__code__


class Trace:
    """Functions that are called while one request is answered."""

    def __init__(self) -> None:
        self.functions: dict[CodeType, None] = {}
        self.path: dict[CodeType, None] = {}
        self.transactions = 0
        self._jobs: set[Any] = set()  # of the request, in the database's queues
        self._own = threading.local()  # in a thread of the database: whether the job is one of the request
        self._stack_of_job: list[CodeType] = []

    def __str__(self) -> str:
        files = {code.co_filename for code in self.functions}
        path = f", {len(self.path)} on the path to the row" if self.path else ""
        return f"{len(self.functions)} functions, {len(files)} files, {self.transactions} transactions{path}"

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; the profile function of each thread."""
        code, given = frame.f_code, frame.f_locals
        if event != "call" or not _is_project(code):
            return
        if threading.current_thread() is threading.main_thread():
            is_own = _TRACED.get()
            if is_own and code is _QUEUED:
                self._stack_of_job = _stack(frame)
                self._jobs.add(given["fn"])
            elif is_own and code is _SENT:
                self._jobs.add(given["args"][0])
        else:
            if code in (_READ, _WRITTEN):
                calls = [given["fn"]] if code is _READ else [job.fn for job in given["batch"]]
                self._own.job = not self._jobs.isdisjoint(calls)
                self.transactions += self._own.job
            is_own = getattr(self._own, "job", False)
        if is_own:
            self.functions[code] = None

    def note_statement(self, _c: object, _cursor: object, statement: str, *_: object) -> None:
        """Note the path to the row; called before each statement."""
        if getattr(self._own, "job", False) and statement.startswith(_ROW):
            self.path = dict.fromkeys((*self._stack_of_job, *_stack(sys._getframe())))


def _is_project(code: CodeType) -> bool:
    return code.co_filename.startswith(_PACKAGES) and not code.co_name.endswith(("comp>", "genexpr>"))


def _stack(frame: FrameType | None) -> list[CodeType]:
    """Return the project's functions on a stack, the outermost first."""
    found: list[CodeType] = []
    while frame is not None:
        if _is_project(frame.f_code):
            found.append(frame.f_code)
        if frame.f_code is Access.__call__.__code__:
            break  # above it is the hub's start
        frame = frame.f_back
    return found[::-1]


def _name(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno} {code.co_qualname}"


def _ask(where: Path, traces: list[Trace]) -> None:
    """Send the requests, print their traces, and stop the hub."""
    is_long = "-v" in sys.argv
    try:
        transport = httpx2.HTTPTransport(uds=str(where), verify=False)
        with httpx2.Client(transport=transport, base_url="http://hub", timeout=60.0) as client:
            client.post("/v1/tokens", json={"device": "desk"}).raise_for_status()
            for verb, path in _REQUESTS:
                client.request(verb, path).raise_for_status()  # reads the signature of the route
                traces.clear()
                for _ in range(_REPEATS):
                    client.request(verb, path).raise_for_status()
                least = min(traces, key=lambda trace: len(trace.functions))
                print(f"{verb} {path}: {least}")
                for code in least.functions if is_long else ():
                    print(f"  {'>' if code in least.path else ' '} {_name(code)}")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Trace a hub in this process, whose requests come from a thread."""
    traces: list[Trace] = []
    answer = Access.__call__

    async def traced(self: Access, scope: Scope, receive: Receive, send: Send) -> None:
        traces.append(Trace())
        _TRACED.set(True)
        await answer(self, scope, receive, send)
        _TRACED.set(False)

    def note(*call: Any) -> None:
        if traces:
            traces[-1].note(*call)

    def note_statement(*call: Any) -> None:
        if traces:
            traces[-1].note_statement(*call)

    Access.__call__ = traced  # type: ignore[method-assign]
    sa.event.listen(sqlite._engine(), "before_cursor_execute", note_statement)
    threading.setprofile(note)  # of threads that begin from now on, as those of the database
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hub.toml").write_text(SETTINGS.format(model=""))
        new_database(folder / "hub.db")

        def on_ready(_: dict[str, str]) -> str:
            sys.setprofile(note)
            threading.setprofile(None)
            threading.Thread(target=_ask, args=(folder / "hub.sock", traces)).start()
            return ""

        run(open_settings(SettingsFile(folder / "hub.toml"), folder), folder, on_ready=on_ready)


if __name__ == "__main__":
    main()
