"""Process connectors: a program in a jail that exchanges JSON lines with the hub; its limits.

The page ``process-connectors`` of the handbook specifies the lines. A program is started for a run and ended
after it. It has no socket, no environment and no file but its own: it asks the hub for each HTTP request. The
hub sends those to the origins that hub.toml allows, and adds the secret, which no line contains.
"""

import hashlib
import os
import shutil
import signal
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process
from msgspec import Meta
from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from hub.base.log import LAST_WORDS, Channel, foreign_words
from hub.base.outbound.refusal_reach import RefusalScope
from hub.base.outbound.rules import bounded_wait
from hub.base.output_pace import LINES_BYTES_PER_S, LOG_BYTES_PER_S, OutputPace
from hub.base.printable import one_line, with_whole_characters
from hub.base.toml.values import SettingsPath
from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    FileUnusable,
    HttpReply,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    Shown,
    SignInNeeded,
    Unavailable,
    Unread,
    origin_of,
    server_address,
)
from hub.connectors.connector import (
    MAX_WORDS,
    PAGE_MESSAGES,
    Account,
    Auth,
    Connector,
    Context,
    Cursor,
    Message,
    Page,
    ProviderSettings,
    Word,
)
from hub.connectors.secret_spellings import SecretSpellings
from hub.connectors.selection import MAX_SUBJECT_CHARS
from hub.document import Document
from hub.text.html import TooTangled, text_of_html
from hub.text.parts import known_parts
from protocol.frame import NO_JSON, Count, check_value
from protocol.items import ProvenanceOrigin

log = Channel(__name__)
T = TypeVar("T")

API: Final = 1  # version of the lines
MAX_LINE_BYTES: Final = 2 * 1024 * 1024  # of the program; decoding it takes less than 50 ms of the loop
MAX_BODY_BYTES: Final = 2 * 1024 * 1024  # of an answer to an HTTP request
MAX_CALL_BYTES: Final = 64 * 1024 * 1024  # of the program's lines in one call
MAX_CALL_LINES: Final = 2_000
MAX_CURSOR_BYTES: Final = 64 * 1024  # also of ``next``, and of the place of a message
MAX_RUN_MESSAGES: Final = 10_000  # listed in one run; each is a row of the database
MAX_PARTS: Final = 256  # types of parts of a message with their outcomes
MAX_IDLE_PAGES: Final = 100  # without a message that is new in this run, one behind the other
SILENCE_S: Final = 60.0  # until a line is complete, or is read by the program
MAX_LOGGED: Final = 200  # lines of standard error in one run
MAX_REASON_CHARS: Final = 400
LAST_WORDS_S: Final = 1.0  # for standard error of a program that was ended
_LAST_BYTES: Final = 4_096  # of it, in which a line may name the error
_WROTE: Final = "[log] content = true shows what it wrote"  # in reasons of the hub, and of the bridge of MCP
_NO_LINE: Final = "the connector wrote a line that is none of the protocol"
_MIN_SECRET: Final = 6  # characters of a secret that is looked for in answers

_MAIN: Final = Path(__file__).with_name("process_main.py")
_RUNTIME: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share", "/etc/ld.so.cache"),
    *("/etc/localtime", "/etc/ssl/openssl.cnf", "/dev/null", "/dev/urandom"),
)
_OWN_HEADERS: Final = frozenset(  # of the connection, and of the hub
    {
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "if-range",  # a part of an answer could have a part of the secret
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _apart(folder: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    if base is not None and base.resolve().is_relative_to(folder.resolve()):
        raise ValueError("hub.toml lies in it: a connector gets a folder of its own")
    return folder


ReadableFolder = Annotated[SettingsPath, AfterValidator(_apart)]
Origin = Annotated[str, AfterValidator(lambda value: origin_of(server_address(value)))]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"]


class ProgramSettings(ProviderSettings):
    """Program by others that runs in a jail."""

    command: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=1_000)], ...],
        Field(min_length=1, max_length=32),
    ] = Field(
        description='Program and arguments, as in ["node", "connector.mjs"]; "python" is that of the hub.'
    )
    folder: ReadableFolder = Field(description="Folder of the program, which it runs in and may read.")
    runtime: tuple[ReadableFolder, ...] = Field(
        default=(),
        max_length=20,
        description="Further folders that it may read: of its language or libraries.",
    )
    memory_mb: int = Field(default=2_048, ge=64, le=65_536, description="Most address space.")
    accept_weaker_jail: bool = Field(
        default=False, description="Start it even where the kernel cannot keep it from the hub's files."
    )

    def problem_of_files(self) -> str | None:
        """Return why this node cannot start the program, or None."""
        try:
            self.order()
        except FileUnusable as error:
            return str(error)
        return None

    def order(self) -> dict[str, Any]:
        """Return what the jail needs to start the program: its path, and what it may read.

        Raises:
            FileUnusable: this node lacks the program or a folder.
        """
        for folder in (self.folder, *self.runtime):
            if not folder.exists():
                raise FileUnusable(f"{folder} does not exist here")
        name, own = self.command[0], []
        if name == "python":
            found: str | None = getattr(sys, "_base_executable", sys.executable)
            own.append(os.path.join(sys.base_prefix, "lib"))
        else:
            found = str(self.folder / os.path.expanduser(name)) if "/" in name else shutil.which(name)
        if found is None or not os.path.isfile(found):
            raise FileUnusable(f"there is no program {name!r} here")
        path = os.path.realpath(found)
        readable = [path, *own, *map(str, (self.folder, *self.runtime)), *_RUNTIME]
        return {
            "command": [path, *self.command[1:]],
            "folder": str(self.folder),
            "readable": [path for path in readable if os.path.exists(path)],
            "memory_bytes": self.memory_mb << 20,
            "seconds": 600.0,  # of CPU time, for one run
            "accepts_less": self.accept_weaker_jail,
        }


class ProcessSettings(ProgramSettings):
    """Table ``settings`` of a connector of the provider process."""

    origins: tuple[Origin, ...] = Field(
        default=(), max_length=20, description='Servers that it may ask, as in "https://api.example.com".'
    )
    methods: tuple[Method, ...] = Field(default=("GET", "HEAD"), description="HTTP methods that it may use.")
    options: dict[str, Any] = Field(default={}, description="Its own settings; no secrets.")


class _SignIn(msgspec.Struct, frozen=True):
    """Place of the secret in a request; *user*: the option with the user name. It may need none."""

    kind: Literal["none", "header", "basic"] = "none"
    header: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")] = "Authorization"
    prefix: Annotated[str, Meta(max_length=100)] = "Bearer "
    user: Word = "username"
    required: bool = True


_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "strings": list[str],
}


class _Option(msgspec.Struct, frozen=True):
    type: Literal["string", "integer", "number", "boolean", "strings"] = "string"
    required: bool = False


class ProcessSpec(msgspec.Struct, frozen=True):
    """Description of a connector by itself.

    Attributes:
        api: oldest and newest version of the lines that it knows.
        origins: servers that it asks; ``settings.NAME``: the server in its option NAME.
        settings: its options by name.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    api: tuple[int, int]
    version: Annotated[str, Meta(max_length=100)] = ""
    auth: _SignIn = _SignIn()
    origins: Annotated[tuple[Word, ...], Meta(max_length=20)] = ()
    methods: Annotated[tuple[Word, ...], Meta(max_length=20)] = ("GET",)
    settings: Annotated[
        dict[Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")], _Option], Meta(max_length=64)
    ] = {}

    def check(self, settings: ProcessSettings, *, has_secret: bool) -> None:
        """Check that hub.toml gives the connector what it needs. Raises Misconfigured."""
        least, most = self.api
        if not least <= API <= most:
            raise Misconfigured(
                _reason(f"{self.name} knows versions {least} to {most} of the lines, not {API}")
            )
        fields: list[Any] = [
            (name, _TYPES[setting.type]) if setting.required else (name, _TYPES[setting.type] | None, None)
            for name, setting in self.settings.items()
        ]
        try:
            kind = msgspec.defstruct("Options", fields, kw_only=True, forbid_unknown_fields=True)
            msgspec.convert(settings.options, kind)
        except msgspec.ValidationError as error:
            raise Misconfigured(f"settings.options: {_reason(error)}") from None
        if refused := sorted(self._asked(settings) - set(settings.origins)):
            raise Misconfigured(
                _reason(f"write settings.origins if you allow it: {self.name} asks {', '.join(refused)}")
            )
        if refused := sorted(set(self.methods) - set(settings.methods)):
            raise Misconfigured(
                _reason(f"write settings.methods if you allow it: {self.name} sends {', '.join(refused)}")
            )
        if self.auth.kind != "none" and self.auth.required and not has_secret:
            raise Misconfigured(_reason(f'write secret = {{ file = "PATH" }}: {self.name} needs a secret'))

    def _asked(self, settings: ProcessSettings) -> set[str]:
        found = set()
        for written in self.origins:
            is_option = written.startswith("settings.")
            url = str(settings.options.get(written.partition(".")[2], "")) if is_option else written
            try:
                found.add(origin_of(url))
            except ValueError:
                raise Misconfigured(_reason(f"{self.name}: {written} is no address of a server")) from None
        return found


_Long = Annotated[str, Meta(max_length=16_000)]
_Text = Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class _Failed(msgspec.Struct, frozen=True):
    """Failure by the action that it requires."""

    code: Word = "unavailable"
    message: Shown = ""
    seconds: float | None = None

    def failure(self, now: datetime) -> ConnectorFailure:
        """Return the failure; an unknown code is a transient one."""
        message = _reason(self.message) or "the connector gave no reason"
        if self.code == "wait":
            wait = None if self.seconds is None else bounded_wait(self.seconds)
            at = None if wait is None else now + timedelta(seconds=wait.seconds)
            return ProviderBusy(message, retry_at=at)
        return _FAILURES.get(self.code, Unavailable)(message)

    @classmethod
    def of(cls, failure: ConnectorFailure, now: datetime) -> "_Failed":
        code = next((code for code, kind in _FAILURES.items() if isinstance(failure, kind)), "unavailable")
        at = failure.retry_at if isinstance(failure, ProviderBusy) else None
        return cls(code, str(failure), None if at is None else max(0.0, (at - now).total_seconds()))


_FAILURES: Final[dict[str, type[ConnectorFailure]]] = {
    "sign_in": SignInNeeded,
    "forbidden": PermissionMissing,
    "bad_settings": Misconfigured,
    "wait": ProviderBusy,
    "quota": QuotaSpent,
    "cursor_lost": CursorLost,
    "unreadable": MessageUnreadable,
    "unavailable": Unavailable,
}


class _ProgramRequest(msgspec.Struct, frozen=True):
    """HTTP request of the program. *accept*: statuses that it handles, in addition to 200 to 299."""

    url: _Long
    id: int = 0
    method: Word = "GET"
    query: Annotated[
        dict[Word, _Long | Annotated[list[_Long], Meta(max_length=1_000)]], Meta(max_length=1_000)
    ] = {}
    headers: Annotated[dict[Word, _Long], Meta(max_length=64)] = {}
    body: _Text | None = None
    body_base64: _Text | None = None
    accept: Annotated[tuple[int, ...], Meta(max_length=100)] = ()


class _ProgramLine(msgspec.Struct, frozen=True):
    """Line of the program; one of its fields is set in addition to the call's *id*."""

    id: int = 0
    result: msgspec.Raw = msgspec.Raw()
    item: msgspec.Raw = msgspec.Raw()
    error: _Failed | None = None
    http: _ProgramRequest | None = None
    jail: Shown | None = None


class _ProgramListing(msgspec.Struct, frozen=True):
    """Page. *next*: what the program needs for the next page of this stream; none: it was the last."""

    messages: Annotated[list[msgspec.Raw], Meta(max_length=PAGE_MESSAGES)] = []
    cursor: dict[str, Any] | None = None
    next: msgspec.Raw = msgspec.Raw(b"null")
    is_backfill: bool = False


class _Item(msgspec.Struct, frozen=True):
    """Content of a message, as text or HTML, with the counts of its other *parts*, or the reason for none."""

    key: Word
    text: _Text | None = None
    html: _Text | None = None
    unread: Shown = ""
    is_removed: bool = False
    is_final: bool = False
    parts: Annotated[dict[Word, Count], Meta(max_length=MAX_PARTS)] = {}


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode a line of the program, or a part of it, with U+FFFD for half a character. Raises Unavailable."""
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError:
            if (whole := with_whole_characters(bytes(data))) is None:
                raise
            return msgspec.json.decode(whole, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unavailable(
            f"the connector wrote a line that is none of the protocol: {_reason(error)}"
        ) from None


def _reason(error: object) -> str:
    return one_line(str(error)[:MAX_REASON_CHARS])[:MAX_REASON_CHARS]


class _Requests:
    """HTTP requests of a program, with the secret, which answers to the program do not contain."""

    def __init__(self, context: Context, settings: ProcessSettings) -> None:
        self.sign_in = _SignIn()
        self._context = context
        self._settings = settings

    async def answer(self, asked: _ProgramRequest) -> dict[str, Any]:
        """Send a request of the program and return the line with its answer."""
        try:
            answer = await self._send(asked)
            if len(answer.body) > MAX_BODY_BYTES:
                raise MessageUnreadable(f"the answer has more than {MAX_BODY_BYTES >> 20} MiB")
            shown = await self._shown(answer)
            return {"answer": {"id": asked.id, "status": answer.status, **shown}}
        except ConnectorFailure as refusal:
            failure = refusal
            if (
                isinstance(failure, SignInNeeded)
                and self._context.secret is None
                and self.sign_in.kind != "none"
            ):
                failure = SignInNeeded(
                    "the server wants a sign-in: name its secret = { file = ... } in hub.toml"
                )
            return {"answer": {"id": asked.id, "error": _Failed.of(failure, self._context.clock.now())}}

    async def _send(self, asked: _ProgramRequest) -> HttpReply:
        if asked.method not in self._settings.methods:
            raise Misconfigured(f"the connector sends {_reason(asked.method)}, which settings.methods lacks")
        headers = {name: value for name, value in asked.headers.items() if _is_sent(name, value)}
        if secret := "".join(self._secrets()[:1]):
            own = self.sign_in.header
            headers = {k: v for k, v in headers.items() if k.lower() != own.lower()} | {own: secret}
        try:
            body = None if asked.body_base64 is None else b64decode(asked.body_base64, validate=True)
        except ValueError:
            raise Misconfigured("the connector sends a body that is no base64") from None
        return await self._context.caller.ask(
            asked.method,
            asked.url,
            params=asked.query,
            headers=headers,
            body=asked.body.encode() if body is None and asked.body is not None else body,
            accept={*range(200, 300), *asked.accept},
        )

    def _secrets(self) -> list[str]:
        """Return the value of the header with the secret, and what else would reveal it; none without one."""
        if self.sign_in.kind == "none" or self._context.secret is None:
            return []
        secret = self._context.secret()
        if self.sign_in.kind == "header":
            return [f"{self.sign_in.prefix}{secret}", secret]
        user = self._settings.options.get(self.sign_in.user, "")
        sent = b64encode(f"{user}:{secret}".encode()).decode()
        return [f"Basic {sent}", sent, secret]

    async def _shown(self, answer: HttpReply) -> dict[str, Any]:
        """Return headers and body without the secret, which some servers repeat.

        Raises:
            MessageUnreadable: they have it in another spelling.
        """
        body, headers = answer.body, {k: v for k, v in answer.headers.items() if k != "set-cookie"}
        if secrets := [secret for secret in self._secrets() if len(secret) >= _MIN_SECRET]:
            spellings = SecretSpellings(secrets)
            body = spellings.hide(body)
            headers = {name: spellings.hide(value.encode()).decode() for name, value in headers.items()}
            if await spellings.are_in(body) or await spellings.are_in(msgspec.json.encode(headers)):
                raise MessageUnreadable("the answer repeats the secret in another spelling; it is not shown")
        try:
            return {"headers": headers, "body": body.decode()}
        except UnicodeDecodeError:
            return {"headers": headers, "body_base64": b64encode(body).decode()}


def _is_sent(name: str, value: str) -> bool:
    is_own = name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-")
    is_name = name.isascii() and name.replace("-", "").isalnum()
    return is_name and not is_own and value.isascii() and value.isprintable()


class _Jailed:
    """Started program, which answers one call at a time."""

    def __init__(self, process: Process, context: Context, requests: _Requests) -> None:
        assert process.stdin and process.stdout and process.stderr  # all are pipes
        self._process = process
        self._to, self._from, self._errors = process.stdin, process.stdout, process.stderr
        self._context = context
        self._requests = requests
        self._buffer = bytearray()
        self._last = b""  # end of standard error
        self._number = self._logged = self._dropped_bytes = 0
        self._lines_pace, self._errors_pace = OutputPace(LINES_BYTES_PER_S), OutputPace(LOG_BYTES_PER_S)

    async def call(
        self, method: str, params: dict[str, Any], kind: type[T], take: Callable[[_Item], object]
    ) -> T:
        """Return the result of a call; *take* receives its items first.

        Raises:
            ConnectorFailure: the program reports it, or broke the protocol.
        """
        self._number += 1
        found: list[T] = []
        failed: list[ConnectorFailure] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._log_errors)
            try:
                found.append(_decoded(await self._exchange(method, params, take), kind))
                tasks.cancel_scope.cancel()
            except ConnectorFailure as failure:
                failed.append(failure)
                self._kill()  # ends its standard error, too, which is logged up to its end
                tasks.cancel_scope.deadline = anyio.current_time() + LAST_WORDS_S
        if failed and self._last.strip():
            lines = [line for line in self._last.decode("utf-8", "replace").splitlines() if line.strip()]
            named = [line for line in lines if "error" in line.lower()] or lines
            last_words = f"{_WROTE}{LAST_WORDS}{foreign_words(named[-1])}"
            failed[0].args = (str(failed[0]).replace(_WROTE, last_words),)
        if failed:
            raise failed[0]
        return found[0]

    async def _exchange(
        self, method: str, params: dict[str, Any], take: Callable[[_Item], object]
    ) -> msgspec.Raw:
        left = MAX_CALL_BYTES
        await self._write({"id": self._number, "method": method, "params": params})
        for _ in range(MAX_CALL_LINES):
            data = await self._read_line()
            left -= len(data)
            line = _decoded(data, _ProgramLine)
            if line.http is not None:
                await self._write(await self._requests.answer(line.http))
            elif line.jail is not None:
                raise FileUnusable(_reason(line.jail))  # another node may have what this machine lacks
            elif line.id != self._number:
                raise Unavailable("the connector answered a call that was not made")
            elif line.error is not None:
                raise line.error.failure(self._context.clock.now())
            elif bytes(line.item):
                take(_decoded(line.item, _Item))
            elif bytes(line.result):
                return line.result
            else:
                raise Unavailable(f"{_NO_LINE}: it has no result, item, error or http")
            if left < 0:
                break
        raise Unavailable("the connector does not come to an end: too many lines for one call")

    async def _write(self, line: dict[str, Any]) -> None:
        try:
            with anyio.fail_after(SILENCE_S):
                await self._to.send(msgspec.json.encode(line) + b"\n")
        except TimeoutError:
            raise Unavailable(f"the connector read nothing for {SILENCE_S:.0f} s") from None
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # it ended, as the next line shows, which may have the reason

    async def _read_line(self) -> bytes:
        searched = 0
        try:
            with anyio.fail_after(SILENCE_S):
                while (end := self._buffer.find(b"\n", searched)) < 0:
                    searched = len(self._buffer)
                    if searched > MAX_LINE_BYTES:
                        raise Unavailable(f"the connector wrote a line of more than {MAX_LINE_BYTES} bytes")
                    self._buffer += await self._from.receive()
        except TimeoutError:
            raise Unavailable(f"the connector did not answer within {SILENCE_S:.0f} s") from None
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._kill()
            code = await self._process.wait()
            raise Unavailable(f"the connector's program ended ({code}); {_WROTE}") from None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            check_value(line)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{_NO_LINE}: {error}") from None
        await self._lines_pace.pause(len(line))  # a turn of the loop before the line is decoded
        return line

    async def _log_errors(self) -> None:
        """Log what the program writes to standard error; count what is more than MAX_LOGGED lines."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for piece in self._errors:
                self._dropped_bytes += len(piece)
                self._last = (self._last + piece)[-_LAST_BYTES:]
                for line in piece.splitlines()[: MAX_LOGGED - self._logged]:
                    self._logged += 1
                    self._dropped_bytes -= len(line) + 1
                    text = _reason(line[:MAX_REASON_CHARS].decode("utf-8", "replace"))
                    log.info("connector.wrote", connector=self._context.account, text=text)
                await self._errors_pace.pause(len(piece))

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # in a weaker jail, it may have started others
                os.killpg(self._process.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """End the program, which keeps nothing between two runs."""
        with anyio.CancelScope(shield=True):
            self._kill()
            await self._process.aclose()
        if self._dropped_bytes > 0:
            log.warning(
                "connector.wrote_too_much", connector=self._context.account, dropped_bytes=self._dropped_bytes
            )


class ProcessConnector(Connector):
    """Connector whose provider is a program by others."""

    provider: ClassVar[str] = "process"
    auth: ClassVar[Auth] = Auth.NONE  # the program declares what its requests need
    settings_model: ClassVar[type[ProviderSettings]] = ProcessSettings

    settings: ProcessSettings
    companion: ProgramSettings | None = (
        None  # a second program in a jail of its own, joined to the first by pipes
    )
    _jailed: _Jailed | None = None
    _listed = 0  # messages in this run

    @classmethod
    def origin(cls, settings: ProcessSettings) -> str:
        whose = msgspec.json.encode([settings.command, settings.options], order="deterministic")
        return f"{cls.provider} {hashlib.sha256(whose).hexdigest()}"

    @classmethod
    def origins(cls, settings: ProcessSettings) -> frozenset[str]:
        return frozenset(settings.origins)

    async def check(self) -> Account:
        found = await self._call("check", {}, Account)
        return Account(name=_reason(found.name) or self.context.account, detail=_reason(found.detail))

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        following: msgspec.Raw | None = None
        idle, is_first, listed = 0, True, set[int]()
        while idle < MAX_IDLE_PAGES:
            params = {"cursor": cursor, "since": since, "next": following}
            try:
                page = await self._call("pages", params, _ProgramListing)
            except CursorLost as lost:
                if is_first:
                    raise
                raise Unavailable(str(lost)) from lost
            for name, value in (("cursor", msgspec.json.encode(page.cursor)), ("next", bytes(page.next))):
                if len(value) > MAX_CURSOR_BYTES:
                    raise Unavailable(f"the connector has a {name} of more than {MAX_CURSOR_BYTES} bytes")
            self._listed += len(page.messages)
            if self._listed > MAX_RUN_MESSAGES:
                raise Unavailable(
                    f"the connector listed more than {MAX_RUN_MESSAGES} messages in one run; the next goes on"
                )
            messages = tuple(map(_message, page.messages))
            yield Page(messages=messages, cursor=page.cursor, is_backfill=page.is_backfill)
            following, is_first = page.next, False
            if bytes(following) == b"null":
                return
            known = len(listed)
            listed |= {hash((message.key, message.version)) for message in messages}
            idle = 0 if len(listed) > known else idle + 1
        raise Unavailable(f"the connector listed {MAX_IDLE_PAGES} pages without a new message")

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        waiting = {message.key: message for message in messages}
        items: dict[str, _Item] = {}
        failed: ConnectorFailure | None = None
        asked = [
            {"key": message.key, "version": message.version, "place": message.place}
            for message in waiting.values()
        ]
        try:
            await self._call(
                "read", {"messages": asked}, dict[str, Any], lambda item: items.setdefault(item.key, item)
            )
        except ConnectorFailure as failure:
            failed = failure  # after what was read before
        for key, item in items.items():
            if (known := waiting.pop(key, None)) is not None:
                yield known, await self._content(known, item)
        self.refusals.accepted += len(items)
        if failed is not None and (
            failed.scope in (RefusalScope.ACCOUNT, RefusalScope.MOMENT) or len(messages) == 1
        ):
            raise failed
        if failed is not None:  # by one of the messages that are left
            async for message, outcome in self.refusals.each(
                [*waiting.values()], self._read_alone, at_once=1
            ):
                yield message, outcome
            return
        for message in waiting.values():
            yield message, Unread(reason="the connector gave no text for it")

    async def _read_alone(self, message: Message) -> Document | Unread:
        items: list[_Item] = []
        asked = {"key": message.key, "version": message.version, "place": message.place}
        await self._call("read", {"messages": [asked]}, dict[str, Any], items.append)
        found = next((item for item in items if item.key == message.key), _Item(message.key))
        return await self._content(message, found)

    async def aclose(self) -> None:
        if self._jailed is not None:
            jailed, self._jailed = self._jailed, None
            await jailed.aclose()

    async def _content(self, message: Message, item: _Item) -> Document | Unread:
        text, hidden = item.text, 0
        if item.html is not None and text is None:
            try:
                page = await anyio.to_thread.run_sync(text_of_html, item.html)
            except TooTangled as error:
                return Unread(reason=str(error), is_final=True)
            text, hidden = page.text, page.dropped
        if text is None:
            reason = _reason(item.unread) or "the connector gave no text for it"
            return Unread(reason=reason, is_removed=item.is_removed, is_final=item.is_final)
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return message.document(
            text,
            digest,
            media_type="text/markdown",
            hidden_parts=hidden,
            parts=known_parts(item.parts),
            origin=ProvenanceOrigin.WEB,
            max_chars=self.filter.max_chars,
        )

    async def _call(
        self,
        method: str,
        params: dict[str, Any],
        kind: type[T],
        take: Callable[[_Item], object] = lambda item: None,
    ) -> T:
        """Return the result of a call to the program, which is started with the first one."""
        is_answered = False
        try:
            if self._jailed is None:
                await self._start()
            assert self._jailed is not None
            found = await self._jailed.call(method, params | {"settings": self.settings.options}, kind, take)
            is_answered = True
            return found
        finally:
            if not is_answered:  # between two lines: the next call starts another one
                await self.aclose()

    async def _start(self) -> None:
        order = await anyio.to_thread.run_sync(self.settings.order)
        if self.companion is not None:
            order["companion"] = await anyio.to_thread.run_sync(self.companion.order)
        order["parent"] = os.getpid()
        argv = [sys.executable, "-I", "-B", str(_MAIN), msgspec.json.encode(order).decode()]
        try:
            # By the thread of the loop: the process ends with the thread that started it.
            process = await anyio.open_process(argv, cwd=self.settings.folder, env={}, start_new_session=True)
        except OSError as error:
            raise Unavailable(f"the connector's process cannot be started: {error.strerror}") from error
        requests = _Requests(self.context, self.settings)
        self._jailed = _Jailed(process, self.context, requests)
        spec = await self._jailed.call("spec", {}, ProcessSpec, lambda item: None)
        spec.check(self.settings, has_secret=self.context.secret is not None)
        requests.sign_in = spec.auth


def _message(raw: msgspec.Raw) -> Message:
    """Return a listed message; a broken one with its fault, so that the others of its page are read."""
    try:
        found = msgspec.json.decode(raw, type=Message)
        if len(msgspec.json.encode(found.place)) > MAX_CURSOR_BYTES:
            raise msgspec.ValidationError(f"Expected a `place` of at most {MAX_CURSOR_BYTES} bytes")
        for at in filter(None, (found.received_at, found.sent_at)):
            if at.tzinfo is None:
                raise msgspec.ValidationError("Expected an offset in `received_at` and `sent_at`")
            at.astimezone(UTC)  # raises OverflowError beyond the years 1 to 9999
    except (*NO_JSON, OverflowError) as error:
        digest = hashlib.sha256(bytes(raw)).hexdigest()
        return Message(key=f"broken:{digest}", fault=f"the connector listed it wrongly: {_reason(error)}")
    return Message(
        key=found.key,
        version=found.version,
        place=found.place,
        received_at=found.received_at,
        sent_at=found.sent_at,
        sender=found.sender,
        subject=found.subject[:MAX_SUBJECT_CHARS],
        labels=found.labels[:MAX_WORDS],
        size_bytes=found.size_bytes,
        is_bulk=found.is_bulk,
        is_sent=found.is_sent,
        is_unread=found.is_unread,
        link=found.link if (found.link or "").startswith(("https://", "http://")) else None,
    )
