"""Secrets that are planted, and the search for them in files, in answers, in what a process tells."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_CHARS = 8  # of a secret: shorter ones are found by chance
_FORM = ("code", "code_verifier", "refresh_token", "device_code", "client_secret", "token")


class Secrets:
    """What must be found nowhere but where it belongs, each under a name that may be told."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}
        self.names: list[str] = []

    def plant(self, name: str, secret: str) -> str:
        """Look for it from now on, in whatever spelling; gives it back."""
        assert len(secret) >= MIN_CHARS, name
        self.names.append(name)
        for form in _spellings(secret.encode()):
            self._forms[form] = name
        return secret

    def plant_signing_in(self, user: str, name: str, secret: str) -> str:
        """The same of a password, which is also shown behind its user's name."""
        for shown in (f"{user}:{secret}", f"\0{user}\0{secret}"):
            self.plant(f"{name} as it is shown", shown)
        return self.plant(name, secret)

    def found_in(self, data: bytes) -> set[str]:
        """The names of those that stand in *data*."""
        return {name for form, name in self._forms.items() if form in data}

    def found_below(self, folder: Path, *, but: Iterable[Path] = ()) -> dict[str, set[str]]:
        """By file, those that stand in it; the files that they are given in are left out."""
        left_out = set(but)
        files = (file for file in folder.rglob("*") if file.is_file() and file not in left_out)
        found = {str(file.relative_to(folder)): self.found_in(file.read_bytes()) for file in files}
        return {file: names for file, names in found.items() if names}


class Listener:
    """An ASGI application that plants what is posted to another one, and what is shown to it."""

    def __init__(self, app: ASGIApp, secrets: Secrets) -> None:
        self._app = app
        self._secrets = secrets
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._plant("shown", dict(scope["headers"]).get(b"authorization", b"").decode().partition(" ")[2])

        async def heard() -> Message:
            message = await receive()
            for field, values in parse_qs(message.get("body", b"").decode("utf-8", "replace")).items():
                if field in _FORM:
                    self._plant(field, values[0])
            return message

        await self._app(scope, heard, send)

    def _plant(self, kind: str, secret: str) -> None:
        if len(secret) >= MIN_CHARS:
            self._number += 1
            self._secrets.plant(f"{kind} no. {self._number}", secret)


def process_words(pid: int) -> bytes:
    """What anybody on the machine, or its owner, reads of a process and of all that it started."""
    return b"\n".join(
        part.read_bytes()
        for one in _family(pid)
        for part in (Path(f"/proc/{one}/cmdline"), Path(f"/proc/{one}/environ"))
        if part.exists()
    )


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _spellings(secret: bytes) -> Iterator[bytes]:
    """*secret* as it is, and as others write it: in URLs, in hex, in base64 amid other words."""
    yield secret
    yield quote(secret, safe="").encode()
    yield secret.hex().encode()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + secret)
        # What shares a group of four with the words around it differs with them.
        inner = text[(4 if before else 0) : len(text) // 4 * 4 - 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
