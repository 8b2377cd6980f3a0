"""Recordings, and a server of transcriptions that really reads them.

A recording is a wave file. Each sentence is in its samples, at the time at which it is said; all else is
silence. The server finds the sentences and their times in what it is sent.
"""

import io
import struct
import wave
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

from tests.support.oracle.wire import Connection, HttpRequest, HttpResponse, refusal, respond

RATE = 8_000  # samples of a second
_SAID = 32_767  # begins a sentence: its length, then its code points


def recording(sentences: Mapping[float, str], seconds: float) -> bytes:
    """Return a wave file with *sentences* by the second at which each begins."""
    samples = [0] * round(seconds * RATE)
    for second, sentence in sentences.items():
        spoken = [_SAID, len(sentence), *map(ord, sentence)]
        start = round(second * RATE)
        samples[start : start + len(spoken)] = spoken
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        wav.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def heard_in(data: bytes) -> tuple[list[tuple[float, str]], float]:
    """Return the sentences of a recording with their times, and its duration."""
    with wave.open(io.BytesIO(data)) as wav:
        samples = struct.unpack(f"<{wav.getnframes()}h", wav.readframes(wav.getnframes()))
    found, at = [], 0
    while at < len(samples):
        if samples[at] == _SAID:
            length = samples[at + 1]
            found.append((at / RATE, "".join(map(chr, samples[at + 2 : at + 2 + length]))))
            at += length + 1
        at += 1
    return found, len(samples) / RATE


class Transcriptions:
    """Server of ``/v1/audio/transcriptions`` on loopback.

    Attributes:
        calls: requests so far.
        forms: fields of each request, without the file.
        names: file name of each request.
        refuses_times: answer 400 to ``verbose_json``, as some models do.
    """

    def __init__(self, *, refuses_times: bool = False) -> None:
        self.calls = 0
        self.forms: list[dict[str, str]] = []
        self.names: list[str] = []
        self.refuses_times = refuses_times
        self.base_url = ""
        self._faults: deque[str] = deque()

    def play(self, *faults: str) -> None:
        """Queue faults: ``429``, ``500``, ``401``, ``quota``, ``empty``."""
        self._faults.extend(faults)

    async def serve(self, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; ready with the base URL."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.base_url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
            task_status.started(self.base_url)
            await listener.serve(self._talk)

    async def _talk(self, stream: SocketStream) -> None:
        await Connection(stream).serve(self._respond)

    async def _respond(self, request: HttpRequest, connection: Connection) -> HttpResponse:
        if (request.method, request.path) == ("GET", "/v1/models"):
            return respond(200, {"object": "list", "data": []})
        if (request.method, request.path) != ("POST", "/v1/audio/transcriptions"):
            return refusal(404, "not_found")
        self.calls += 1
        fields, name, content = _form(request)
        self.forms.append(fields)
        self.names.append(name)
        match self._faults.popleft() if self._faults else "":
            case "429":
                return refusal(429, "rate_limit_exceeded", ("retry-after-ms", "20"))
            case "quota":
                return refusal(429, "insufficient_quota")
            case "500" | "401" as status:
                return refusal(int(status), "server_error")
            case "empty":
                return respond(200, b"")
        if self.refuses_times and fields["response_format"] == "verbose_json":
            return refusal(400, "unsupported_value", message="response_format is not supported")
        try:
            said, seconds = heard_in(content)
        except (wave.Error, EOFError):
            return refusal(400, "invalid_file", message="the audio file could not be decoded")
        return respond(200, _transcript(said, seconds, with_times="verbose" in fields["response_format"]))


def _transcript(said: Iterable[tuple[float, str]], seconds: float, *, with_times: bool) -> dict[str, Any]:
    segments = [{"start": at, "end": at + len(text) / 15, "text": f" {text}"} for at, text in said]
    body: dict[str, Any] = {"text": " ".join(str(one["text"]).strip() for one in segments)}
    body["usage"] = {"type": "duration", "seconds": round(seconds)}
    return body | ({"duration": seconds, "segments": segments} if with_times else {})


def _form(request: HttpRequest) -> tuple[dict[str, str], str, bytes]:
    """Return the fields of a form, and the name and content of its file."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    fields: dict[str, str] = {}
    name, content = "", b""
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        body = body.removesuffix(b"\r\n")
        words = dict(one.strip().partition("=")[::2] for one in head.decode().split("\r\n")[0].split(";")[1:])
        if "filename" in words:
            name, content = words["filename"].strip('"'), body
        else:
            fields[words["name"].strip('"')] = body.decode()
    return fields, name, content
