"""Servers on loopback for tests of sinks: a task list with an interface of JSON, and a proxy with faults."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

TOKEN = "a token of tasks"


class Reply(NamedTuple):
    """Answer of a server."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """Request to a server; names of *headers* are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def answering(answer: Callable[[Asked], Reply | None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a free port, and return the port. An answer of None closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer

        def handle(self) -> None:
            with suppress(ConnectionError):  # of a client that was killed
                super().handle()

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = answer(Asked(self.command, self.path, headers, body))
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.block_on_close = False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Tasks:
    """Task list, as Todoist answers: open tasks in pages, and each task by its id."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.changes = 0
        self.page = 3  # tasks of a page, so that few tasks have several
        self.now: Callable[[], str] = lambda: "2099-01-01T00:00:00Z"
        self._answers: dict[str, Reply] = {}
        self._lock = Lock()

    def add(self, content: str, **fields: object) -> str:
        with self._lock:
            return str(self._add({"content": content, **fields})["id"])

    def _add(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        task_id = f"t{len(self.tasks) + self.changes}"
        task = {"id": task_id, "description": "", "priority": 1, "labels": []}
        self.tasks[task_id] = task | {"checked": False, "due": None, "is_deleted": False}
        return self.change(task_id, sent)

    def change(self, task_id: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        task = self.tasks[task_id]
        sent = dict(sent)
        if "due_date" in sent:
            task["due"] = {"date": sent.pop("due_date"), "is_recurring": False}
        if sent.pop("due_string", None) == "no date":
            task["due"] = None
        unknown = sent.keys() - task.keys() - {"content"}
        assert not unknown, unknown
        self.changes += 1
        task |= sent | {"updated_at": self.now()}
        task["content"] = task["content"].strip()
        return task

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            if asked.headers.get("authorization") != f"Bearer {TOKEN}":
                return Reply(401)
            again = asked.headers.get("x-request-id")
            if again in self._answers:
                return self._answers[again]
            reply = self._answer(asked)
            if again:
                self._answers[again] = reply
            return reply

    def _answer(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        _, _, task_id, *action = [*parts.path.removeprefix("/api/v1").split("/"), "", ""][:4]
        sent = json.loads(asked.body or b"{}")
        if not task_id and asked.method == "GET":
            found = [task for task in self.tasks.values() if not task["checked"]]
            start = int(parse_qs(parts.query).get("cursor", ["0"])[0])
            more = str(start + self.page) if len(found) > start + self.page else None
            return _json({"results": found[start : start + self.page], "next_cursor": more})
        if not task_id:
            return _json(self._add(sent)) if sent.get("content") else Reply(400)
        if task_id not in self.tasks:
            return Reply(404)
        match asked.method, action[0]:
            case "GET", _:
                return _json(self.tasks[task_id])
            case "DELETE", _:
                del self.tasks[task_id]
                self.changes += 1
                return Reply(204)
            case _, "close":
                self.change(task_id, {"checked": True})
                return Reply(204)
            case _, "reopen":
                self.change(task_id, {"checked": False})
                return Reply(204)
        return _json(self.change(task_id, sent))


def _json(found: object) -> Reply:
    return Reply(200, json.dumps(found).encode(), {"content-type": "application/json"})


class Proxy:
    """Proxy that answers by *faults* first: None loses the answer of a request that was carried out.

    *only*: the methods that faults meet; others pass. *on_request* is called before a request is carried out,
    and after it.
    """

    def __init__(self, port: int) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Reply | Callable[[], Reply | None] | None] = []
        self.only: tuple[str, ...] = ()
        self.on_request: Callable[[], None] = lambda: None
        self._port = port

    def answer(self, asked: Asked) -> Reply | None:
        self.asked.append(asked)
        self.on_request()
        is_faulty = bool(self.faults) and (not self.only or asked.method in self.only)
        fault = self.faults.pop(0) if is_faulty else None
        if callable(fault):
            fault = fault()
        if is_faulty and fault is not None:
            return fault
        reply = self._forward(asked)
        self.on_request()
        return None if is_faulty else reply

    def _forward(self, asked: Asked) -> Reply:
        there = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            there.request(asked.method, asked.path, asked.body, dict(asked.headers))
            answer = there.getresponse()
            kept = {name: value for name, value in answer.headers.items() if name.lower() in _KEPT}
            return Reply(answer.status, answer.read(), kept)
        finally:
            there.close()


_KEPT = ("etag", "content-type", "content-encoding", "location")
