"""Server on loopback for tests of sinks: a proxy with faults."""

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


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
def answering(answer: Callable[[Asked], Reply | None]) -> Iterator[int]:
    """Serve on a free port, and return the port. An answer of None closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer

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


class Proxy:
    """Proxy that answers by *faults* first: None loses the answer of a request that was carried out.

    *only*: the methods that faults meet; others pass.
    """

    def __init__(self, port: int) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Reply | Callable[[], Reply | None] | None] = []
        self.only: tuple[str, ...] = ()
        self._port = port

    def answer(self, asked: Asked) -> Reply | None:
        self.asked.append(asked)
        is_faulty = bool(self.faults) and (not self.only or asked.method in self.only)
        fault = self.faults.pop(0) if is_faulty else None
        if callable(fault):
            fault = fault()
        if is_faulty and fault is not None:
            return fault
        reply = self._forward(asked)
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


_KEPT = ("etag", "content-type", "content-encoding")
