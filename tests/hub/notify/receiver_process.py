"""Receiver of webhooks in a process of its own: writes each verified one to a file, then answers.

``python -m tests.hub.notify.receiver_process PORT FILE KEY``. Every 29th is answered with 503 after it was
written, as by a proxy that gave up.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from standardwebhooks import Webhook


def serve(port: int, file: Path, key: str) -> None:
    webhook = Webhook(key)
    written = file.open("a", encoding="utf-8")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        count = 0

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            event = webhook.verify(body, dict(self.headers))
            line = [self.headers["webhook-id"], event["type"], event["data"].get("run_id")]
            written.write(json.dumps(line) + "\n")
            written.flush()
            os.fsync(written.fileno())
            Handler.count += 1
            self.send_response(503 if Handler.count % 29 == 0 else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
