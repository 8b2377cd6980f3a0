"""Transcription of recordings to text by an endpoint, and its cost.

A recording is a question to an ``Endpoint``, so retries, rate limits and the circuit breaker are the same.
Its costs are counted by the second: a second is a token of the answer. The text has a line for each sentence,
with the time at which it begins::

    [00:01:23] Anna will send the plan by Friday.

An endpoint that refuses ``verbose_json`` returns no times; its text is used as it is.
"""

import math
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Annotated, Final

import anyio.to_thread
import msgspec
from msgspec import Meta

from hub.document import Document
from hub.extraction.completion import AnswerText, Completion, TokenCounts, Unusable
from hub.extraction.dialect import Dialect, Mode
from hub.extraction.endpoint import Endpoint, EndpointQuestion
from hub.extraction.endpoint_errors import UnsupportedParameter
from hub.extraction.error_bodies import ReportedError
from hub.extraction.model import Finish, ModelAnswer, ModelRefused, ModelRequest, PromptMessage
from protocol.frame import NO_JSON

if TYPE_CHECKING:
    import openai

# A voice needs more; so a recording of so many bytes takes no longer than this.
_MIN_BYTES_PER_S: Final = 1_000
_MIN_WAVE_BYTES_PER_S: Final = 8_000
_SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？", "।", "؟")  # noqa: RUF001


class Recording(ModelRequest, frozen=True, kw_only=True):
    """Question for the words of a recording; its digest is of the file's content.

    Attributes:
        file: content; read for each attempt.
        name: file name, by whose extension the endpoint recognises the format.
    """

    file: IO[bytes]
    name: str


def recording_of(document: Document) -> Recording:
    """Return the question about a document that is a recording."""
    assert document.recording is not None
    size = document.recording.seek(0, 2)
    name = f"recording{PurePosixPath(document.unit_key).suffix.lower()}"
    rate = _MIN_WAVE_BYTES_PER_S if name.endswith(".wav") else _MIN_BYTES_PER_S
    return Recording(
        messages=(PromptMessage("user", f"recording {document.content_hash}"),),
        schema={},
        max_tokens=max(1, math.ceil(size / rate)),
        file=document.recording,
        # Endpoints know the container by this name only.
        name=f"{name.removesuffix('.opus')}.ogg" if name.endswith(".opus") else name,
    )


class Transcriber(Endpoint):
    """Endpoint whose questions are recordings and whose answers are their words."""

    async def _send(
        self, client: "openai.AsyncOpenAI", question: EndpointQuestion
    ) -> "openai.HttpxBinaryResponseContent":
        import openai

        request = question.request
        assert isinstance(request, Recording)
        content = await anyio.to_thread.run_sync(_content, request.file)
        has_times = question.dialect.mode is Mode.JSON_SCHEMA
        return await client.post(
            "/audio/transcriptions",
            cast_to=openai.HttpxBinaryResponseContent,
            body={"model": self.name, "response_format": "verbose_json" if has_times else "json"},
            files=[("file", (request.name, content))],
            options={"headers": {"Idempotency-Key": question.key, "Content-Type": "multipart/form-data"}},
        )

    def _completion_of(self, question: EndpointQuestion, body: bytes) -> Completion:
        transcript = _transcript_in(body.removeprefix(BOM_UTF8))
        seconds = transcript.seconds
        counted = TokenCounts(0, question.request.max_tokens if seconds is None else math.ceil(seconds))
        return Completion("".join(_lines(transcript)), Finish.WHOLE, counted=counted)

    def _dialect_after(self, question: EndpointQuestion, completion: Completion) -> Dialect:
        return question.dialect

    def _refused_text(self, question: EndpointQuestion, error: ReportedError) -> ModelAnswer | None:
        return None  # a refused recording has no words: it is an error

    def _ask_simpler(self, question: EndpointQuestion, dislike: UnsupportedParameter) -> float:
        """Ask without times once. Raises ModelRefused if that is refused, too."""
        if question.dialect.mode is not Mode.JSON_SCHEMA:
            raise ModelRefused(
                f"the endpoint {self.place.base_url} refused the recording ({dislike}): it may be damaged, "
                f"or of a format or length that {self.name} does not accept"
            )
        self._speak(question, Dialect(mode=Mode.JSON_OBJECT))
        return 0.0


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


class _Segment(msgspec.Struct):
    text: AnswerText = ""
    start: float = 0.0
    end: float = 0.0


class _TranscriptionUsage(msgspec.Struct):
    seconds: float | None = None


class _Transcript(msgspec.Struct):
    text: AnswerText
    duration: float | AnswerText | None = None
    segments: Annotated[list[_Segment], Meta(max_length=100_000)] | None = None
    usage: _TranscriptionUsage | None = None

    @property
    def seconds(self) -> float | None:
        """Duration of the recording, if the endpoint reports it."""
        given = [
            self.duration,
            self.usage and self.usage.seconds,
            *(segment.end for segment in self.segments or ()),
        ]
        known = [float(number) for number in given if isinstance(number, float | int)]
        return max((member for member in known if 0 < member < 1e6), default=None)


def _transcript_in(body: bytes) -> _Transcript:
    try:
        found = msgspec.json.decode(body, type=_Transcript)
    except NO_JSON:
        raise Unusable("no transcription") from None
    if len(found.text) > 2_000_000:  # about a day of speech
        raise Unusable("more text than any speech has")
    return found


def _lines(transcript: _Transcript) -> Iterator[str]:
    """Yield a line for each sentence; a segment may end within one."""
    if not transcript.segments:
        text = transcript.text.strip()
        if text:
            yield f"{text}\n"
        return
    line, begin, end = "", 0.0, 0.0
    for segment in transcript.segments:
        words = " ".join(segment.text.split())
        if not words:
            continue
        is_over = line.endswith(_SENTENCE_ENDS) or len(line) + len(words) > 300
        if line and (is_over or segment.start - end > 2.0):  # within a sentence
            yield f"[{_clock(begin)}] {line}\n"
            line = ""
        if not line:
            begin = segment.start
        line, end = f"{line} {words}".strip(), segment.end
    if line:
        yield f"[{_clock(begin)}] {line}\n"


def _clock(seconds: float) -> str:
    whole = int(min(max(seconds, 0.0), 359_999.0)) if math.isfinite(seconds) else 0
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
