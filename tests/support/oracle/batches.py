"""The Batch API: a file of questions goes in, and hours later a file of answers comes out.

Here hours are as long as the traits say. A batch that expires gives the part that was
done; the rest stands in its error file.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import msgspec

from tests.support.oracle.wire import HttpRequest, HttpResponse, refusal, respond

_FILE: Final = re.compile(r"/v1/files/(?P<id>[\w-]+)(?P<content>/content)?")
_BATCH: Final = re.compile(r"/v1/batches/(?P<id>[\w-]+)(?P<cancel>/cancel)?")

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class _Batch(msgspec.Struct):
    input_file: str
    done_at: float
    status: str = "in_progress"
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    metadata: dict[str, str] | None = None


class Batches:
    """Files and batches of one account; *answer* turns the body of a question into that of its completion."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    async def respond(self, request: HttpRequest, *, batch_s: float, share: float) -> HttpResponse | None:
        """The answer to a request about files or batches; ``None`` when it is about something else."""
        match request.method, request.path.partition("?")[0]:
            case "POST", "/v1/files":
                return respond(200, self._file(self._keep(_uploaded(request))))
            case "POST", "/v1/batches":
                return self._open(json.loads(request.body), batch_s)
            case "GET", "/v1/batches":
                listed = [self._told(batch_id) for batch_id in self._batches]
                return respond(200, {"object": "list", "data": listed, "has_more": False})
            case method, path if (found := _FILE.fullmatch(path)) is not None:
                return self._about_file(method, found["id"], is_content=bool(found["content"]))
            case _, path if (found := _BATCH.fullmatch(path)) is not None:
                return await self._about_batch(found["id"], share, is_cancel=bool(found["cancel"]))
            case _:
                return None

    def _open(self, said: dict[str, Any], batch_s: float) -> HttpResponse:
        if said["input_file_id"] not in self._files:
            return refusal(400, "invalid_request_error", message="no such input file")
        batch_id = f"batch_{len(self._batches) + 1}"
        lines = self._files[said["input_file_id"]].splitlines()
        self._batches[batch_id] = _Batch(
            said["input_file_id"],
            anyio.current_time() + batch_s,
            total=len(lines),
            metadata=said.get("metadata"),
        )
        return respond(200, self._told(batch_id))

    def _about_file(self, method: str, file_id: str, *, is_content: bool) -> HttpResponse:
        if file_id not in self._files:
            return refusal(404, "not_found")
        if method == "DELETE":
            del self._files[file_id]
            return respond(200, {"id": file_id, "object": "file", "deleted": True})
        if is_content:
            return respond(200, self._files[file_id], kind="application/octet-stream")
        return respond(200, self._file(file_id))

    async def _about_batch(self, batch_id: str, share: float, *, is_cancel: bool) -> HttpResponse:
        batch = self._batches.get(batch_id)
        if batch is None:
            return refusal(404, "not_found")
        if batch.status == "in_progress":
            if is_cancel:
                batch.status = "cancelled"
            elif anyio.current_time() >= batch.done_at:
                await self._finish(batch, share)
        return respond(200, self._told(batch_id))

    async def _finish(self, batch: _Batch, share: float) -> None:
        asked = [json.loads(line) for line in self._files[batch.input_file].splitlines()]
        batch.completed = int(len(asked) * share)
        done, late = asked[: batch.completed], asked[batch.completed :]
        answered = [
            {
                "custom_id": one["custom_id"],
                "response": {"status_code": 200, "body": await self._answer(one["body"])},
            }
            for one in done
        ]
        expired = {"code": "batch_expired", "message": "This request was not done in time."}
        failed = [{"custom_id": one["custom_id"], "response": None, "error": expired} for one in late]
        batch.output_file = self._keep(_lines(answered)) if answered else None
        batch.error_file = self._keep(_lines(failed)) if failed else None
        batch.status = "expired" if late else "completed"

    def _keep(self, content: bytes) -> str:
        file_id = f"file-{len(self._files) + 1}"
        self._files[file_id] = content
        return file_id

    def _file(self, file_id: str) -> dict[str, Any]:
        told = {"id": file_id, "object": "file", "bytes": len(self._files[file_id]), "created_at": 0}
        return told | {"filename": "questions.jsonl", "purpose": "batch", "status": "processed"}

    def _told(self, batch_id: str) -> dict[str, Any]:
        batch = self._batches[batch_id]
        counts = {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.total - batch.completed if batch.status == "expired" else 0,
        }
        told = {"id": batch_id, "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 0}
        return told | {
            "completion_window": "24h",
            "input_file_id": batch.input_file,
            "output_file_id": batch.output_file,
            "error_file_id": batch.error_file,
            "status": batch.status,
            "request_counts": counts,
            "metadata": batch.metadata,
        }


def _uploaded(request: HttpRequest) -> bytes:
    """The content of the part called ``file`` of a multipart form."""
    match = re.search(r'boundary="?([^";]+)', request.headers["content-type"])
    assert match is not None
    for part in request.body.split(b"--" + match.group(1).encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return b""


def _lines(said: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in said)
