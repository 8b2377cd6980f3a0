"""Exit with 0 if the hub of this container is ready; with the argument ``/healthz``, if it lives."""

import os
import socket
import sys
from http.client import HTTPConnection, HTTPException

path = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
connection = HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.settimeout(5)
try:
    connection.sock.connect(os.path.join(os.environ["STATE_DIRECTORY"], "hub.sock"))
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
except (OSError, HTTPException) as error:
    sys.exit(f"the hub does not answer: {error}")
if answer.status != 200:
    sys.exit(text)
