"""A real CalDAV server for tests: radicale, on loopback, with a folder and a user of its own."""

import http.client
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.programs import free_port, until_listening

PASSWORD: Final = "a password of calendars"
_SETTINGS: Final = """\
[server]
hosts = 127.0.0.1:{port}
[auth]
type = htpasswd
htpasswd_filename = {folder}/users
htpasswd_encryption = plain
delay = 0
[storage]
filesystem_folder = {folder}/collections
[logging]
level = error
"""


class Radicale:
    """The server. *url*: of it, as in ``http://127.0.0.1:5232``."""

    def __init__(self, port: int, users: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = users.parent
        self._users = users
        self._made = 0

    def fresh_user(self) -> str:
        """Somebody without a calendar."""
        self._made += 1
        name = f"user{self._made}"
        with self._users.open("a") as file:
            file.write(f"{name}:{PASSWORD}\n")
        return name

    def make_calendar(self, user: str, calendar: str, name: str | None = None) -> str:
        """Its address."""
        shown = (
            "" if name is None else f"<d:set><d:prop><d:displayname>{name}</d:displayname></d:prop></d:set>"
        )
        body = f'<c:mkcalendar xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">{shown}</c:mkcalendar>'
        self.ask(user, "MKCALENDAR", f"/{user}/{calendar}/", body)
        return f"{self.url}/{user}/{calendar}/"

    def put(self, user: str, calendar: str, name: str, *lines: str, kind: str = "VTODO") -> None:
        """Lay down an object: a component of *kind* with these lines."""
        inner = "\r\n".join((f"BEGIN:{kind}", f"UID:{name}@example", "DTSTAMP:20260101T000000Z", *lines))
        text = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{inner}\r\nEND:{kind}\r\nEND:VCALENDAR\r\n"
        self.ask(user, "PUT", f"/{user}/{calendar}/{name}.ics", text, kind="text/calendar")

    def delete(self, user: str, calendar: str, name: str) -> None:
        """Remove an object."""
        self.ask(user, "DELETE", f"/{user}/{calendar}/{name}.ics")

    def ask(
        self, user: str, method: str, path: str, body: str = "", *, kind: str = "application/xml"
    ) -> None:
        """One request as *user*, which must succeed."""
        shown = b64encode(f"{user}:{PASSWORD}".encode()).decode()
        there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            there.request(
                method, path, body.encode(), {"Authorization": f"Basic {shown}", "Content-Type": kind}
            )
            answer = there.getresponse()
            assert answer.status < 300, (method, path, answer.status, answer.read())
        finally:
            there.close()


@contextmanager
def running_radicale() -> Iterator[Radicale]:
    """A server, gone with the block."""
    with TemporaryDirectory(prefix="hub-radicale-") as folder:
        port = free_port()
        users, settings = Path(folder) / "users", Path(folder) / "settings"
        users.touch()
        settings.write_text(_SETTINGS.format(port=port, folder=folder))
        command = [sys.executable, "-m", "radicale", "--config", str(settings)]
        with (log := Path(folder, "log")).open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            until_listening(process, port, log)
            yield Radicale(port, users)
        finally:
            process.terminate()
            process.wait()
