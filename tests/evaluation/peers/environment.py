"""An environment of a peer's own: made once, kept in the user's cache."""

import json
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio.to_thread
import msgspec

from tests.evaluation.documents import Planted
from tests.support.programs import cache_folder

_HERE: Final = Path(__file__).parent
_INSTALL_S: Final = 600.0
_READ_S: Final = 1_800.0


class Peer(msgspec.Struct, frozen=True):
    """A peer: what is installed for it, and the program here that drives it."""

    name: str
    requirements: tuple[str, ...]
    program: str
    options: tuple[str, ...] = ()


class Answer(msgspec.Struct):
    """What a peer made of one document; with *error* nothing else."""

    titles: list[str] = []
    error: str | None = None


class Outcome(msgspec.Struct):
    """Answers in the order of the documents."""

    answers: list[Answer]
    seconds: float


PEERS: Final = (
    Peer("LangExtract 1.7.1", ("langextract[openai]==1.7.1",), "drive_langextract.py"),
    Peer("LangExtract, chunks as ours", ("langextract[openai]==1.7.1",), "drive_langextract.py", ("5000",)),
    Peer("Instructor 1.17.0", ("instructor==1.17.0",), "drive_instructor.py"),
)


class PeerMissing(Exception):
    """It could not be installed, or its program ended badly."""


async def read(peer: Peer, documents: Sequence[Planted], base_url: str) -> Outcome:
    """Have *peer* read all of *documents*; the time is that of its program, imports included.

    Raises:
        PeerMissing: see there.
    """
    return await anyio.to_thread.run_sync(_read, peer, documents, base_url)


def _read(peer: Peer, documents: Sequence[Planted], base_url: str) -> Outcome:
    python = _python_of(peer)
    texts = json.dumps([document.text for document in documents]).encode()
    words = [str(python), str(_HERE / peer.program), base_url, *peer.options]
    began = perf_counter()
    try:
        done = subprocess.run(words, input=texts, capture_output=True, timeout=_READ_S, check=True)
    except subprocess.SubprocessError as error:
        told = getattr(error, "stderr", None) or b""
        raise PeerMissing(f"{peer.name}: {error} {told.decode()[-500:]}") from error
    answers = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Answer])
    return Outcome(answers, perf_counter() - began)


def _python_of(peer: Peer) -> Path:
    folder = cache_folder("evaluation") / "-".join(peer.requirements).replace("[", "-").replace("]", "")
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*words, *peer.requirements], check=True, timeout=_INSTALL_S, capture_output=True)
        except subprocess.SubprocessError as error:
            told = (getattr(error, "stderr", None) or b"").decode()[-500:]
            raise PeerMissing(f"{peer.name} could not be installed: {error} {told}") from error
        ready.touch()
    return python
