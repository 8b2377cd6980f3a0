"""Nothing that is secret stands anywhere but where it belongs, whatever goes wrong."""

import os
import signal
import subprocess
import sys
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hub.accounts.sealing_keys import FILE
from hub.base.clock import SystemClock
from hub.connectors.calling import TRIES
from protocol.secret_rules import SECRET_RULES
from tests.hub.base.log.secret_texts import SECRET_TEXTS
from tests.scenarios.mailboxes import TOKEN_S
from tests.scenarios.secrets import Listener, Secrets, process_words
from tests.support.asgi import serving
from tests.support.device import open_device
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.faulty_hub import FaultyHub
from tests.support.gmail import FakeGmail, Fault, plain
from tests.support.hub import ENDLESS
from tests.support.oauth import CLIENT, OAuthServer
from tests.support.oracle import Oracle
from tests.support.processes import SETTINGS, HubProcess, model_at
from tests.support.proxy import wire
from tests.support.webhooks import signed

HUB = """\
[limits]
connected_s = 0.1
restart_hold_s = 0.0
[log]
level = "debug"
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
[listen.webhooks]
address = "127.0.0.1:0"
{model}
api_key = {{ file = "model.key" }}
[[connectors]]
name = "post"
provider = "imap"
secret = {{ file = "imap.password" }}
settings = {{ host = "{host}", port = {port}, tls = "none", username = "{user}" }}
[[connectors]]
name = "wrong"
provider = "imap"
secret = {{ file = "imap.wrong" }}
settings = {{ host = "{host}", port = {port}, tls = "none", username = "{user}" }}
[[connectors]]
name = "builds"
provider = "webhook"
secret = {{ file = "hook.secret" }}
previous_secret = {{ file = "hook.old" }}
[[connectors]]
name = "google"
provider = "gmail"
client_id = "{client}"
client_secret = {{ file = "client.secret" }}
[connectors.settings]
base_url = "{api}"
authorize_url = "{sign_in}/authorize"
token_url = "{sign_in}/token"
revoke_url = "{sign_in}/revoke"
"""
AGENT = """\
[[agents]]
name = "{name}"
device = "desk"
connector = "{name}"
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
SOON = [
    word
    for name in ("MIN_WAIT_S", "MAX_WAIT_S")  # whoever is refused tries again at once
    for word in ("--given", f"hub.connectors.calling:{name}=0.01")
]
AGENTS = ("post", "wrong", "builds", "google")


class Google(FakeGmail):
    """It says in its errors what was shown to it, and lets in whom the server beside it says."""

    op: OAuthServer
    last = ""

    def lets_in(self, token: str) -> bool:
        self.last = token
        return self.op.is_good(token)


class Told:
    """All that the hub said to anybody, to be looked through at the end."""

    def __init__(self, hub: HubProcess) -> None:
        self.words: dict[str, bytes] = {}
        self._hub = hub

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        answer = await self._hub.ask(method, path, **options)
        self.words[f"{method} {path} {len(self.words)}"] = answer.content + str(answer.headers).encode()
        return answer

    async def ask_everything(self) -> None:
        """Every address that takes no name."""
        document = (await self.ask("GET", "/v1/openapi.json")).json()
        for path, methods in document["paths"].items():
            if "get" in methods and "{" not in path and path not in ENDLESS:
                await self.ask("GET", path)
        for name in AGENTS:
            await self.ask("GET", f"/v1/connectors/{name}")

    async def type(self, *words: str, folder: Path) -> None:
        """A command of the hub's, with all that it says."""
        command = [sys.executable, "-m", "hub", "--debug", "--state", str(folder), *words]
        done = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)
        self.words[f"hub {' '.join(words)}"] = done.stdout


@pytest.mark.soak
async def test_no_secret_is_in_logs_rows_frames_errors_process_lists_or_crash_reports(
    tmp_path: Path, dovecot: Dovecot
) -> None:
    secrets, clock = Secrets(), SystemClock()
    user = dovecot.fresh_user()
    given = {
        "imap.password": secrets.plant_signing_in(user, "password", PASSWORD),
        "imap.wrong": secrets.plant_signing_in(user, "wrong password", "no-PASSWORD/of+anybody"),
        "hook.secret": secrets.plant("signing secret", "whsec_c2lnbmVkLWJ5LWJvdGgtb2YtdGhlbQ=="),
        "hook.old": secrets.plant("previous signing secret", "whsec_c2lnbmVkLWFzLWl0LW9uY2Utd2Fz"),
        "client.secret": secrets.plant("client secret", "GOCSPX-of-the-hub-itself"),
        "model.key": secrets.plant("key of the model", "sk-planted-for-the-model"),
    }
    for name, secret in given.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    google = Google()
    google.op = op = OAuthServer(lambda: clock.now().timestamp(), ttl_s=TOKEN_S)
    async with AsyncExitStack() as opened:
        api = await opened.enter_async_context(serving(Listener(google, secrets)))
        sign_in = await opened.enter_async_context(serving(Listener(op.app, secrets)))
        line = await opened.enter_async_context(wire())
        tasks = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(tasks.cancel_scope.cancel)
        model = model_at(await tasks.start(Oracle().serve))
        settings = HUB.format(
            **{"model": model, "host": dovecot.host, "port": dovecot.port, "user": user},
            **{"client": CLIENT, "api": api, "sign_in": sign_in},
        )
        agents = "".join(AGENT.format(name=name) for name in AGENTS)
        hub = FaultyHub(tmp_path, settings=settings + agents, is_forked=False)
        hub.faults = SOON
        opened.push_async_callback(hub.close)
        told, frames = Told(hub), []

        async def keep(direction: str, frame: dict[str, Any]) -> bool:
            if direction == "to_device":  # what a device itself shows is its own
                frames.append(repr(frame).encode())
            return True

        line.on_frame = keep
        await hub.start()
        token = secrets.plant("token of the device", await hub.token("desk"))
        made = await hub.post("/v1/operator-tokens", {"name": "eve", "role": "viewer"})
        viewer = secrets.plant("token of an operator", made["token"])
        line.hub_url = await hub.device_url()
        (tmp_path / "desk").mkdir()
        await opened.enter_async_context(open_device(line.url, tmp_path / "desk", token))

        # Somebody signs in: with an address that is another's, with a code that is none, and well.
        begun = (await told.ask("POST", "/v1/connectors/google/sign-in", json={"way": "paste"})).json()
        code = secrets.plant("code of another sign-in", "code-that-belongs-elsewhere")
        for address in (f"http://127.0.0.1:1/?code={code}&state=another-state-of-mind", f"nonsense {code}"):
            await told.ask("POST", "/v1/connectors/google/sign-in/answer", json={"address": address})
        op.next = [JSONResponse({"error": "invalid_grant", "error_description": f"no {code}"}, 400)]
        for attempt in ("refused", "taken"):
            begun = (await told.ask("POST", "/v1/connectors/google/sign-in", json={"way": "paste"})).json()
            async with httpx2.AsyncClient() as browser:
                address = (await browser.get(begun["url"])).headers["location"]
            secrets.plant(f"code that was {attempt}", address.partition("code=")[2].partition("&")[0])
            answer = await told.ask("POST", "/v1/connectors/google/sign-in/answer", json={"address": address})
        assert answer.json()["outcome"] == "done"
        op.omits_refresh = False

        # All mailboxes are read; Google's errors say what it was shown, and so does who gives new tokens.
        google.deliver(plain("one"), clock.now())
        dovecot.deliver(user, [plain("two")])
        for name in ("post", "google", "wrong"):
            await told.ask("POST", f"/v1/connectors/{name}/test")
        google.faults = [
            Fault("/", lambda: Response(f"<p>no, Bearer {google.last}</p>", 500), TRIES),
            Fault("/", lambda: JSONResponse({"error": {"message": f"no, Bearer {google.last}"}}, 403), 1),
        ]
        for _ in google.faults:
            await told.ask("POST", "/v1/connectors/google/test")
        assert not any(fault.times for fault in google.faults)
        refresh = op.families[-1].refresh
        op.families[-1].access.clear()  # all of its tokens are over
        echo = {"error": "invalid_grant", "error_description": f"{refresh} was taken back"}
        op.next = [JSONResponse(echo, 400)]
        await told.ask("POST", "/v1/connectors/google/test")
        assert (await hub.get("/v1/connectors/google"))["state"] == "sign_in"

        # Others post, well and badly, and to nobody.
        hooks = f"http://{(await hub.get('/v1/status'))['listeners']['webhooks']}/hooks"
        async with httpx2.AsyncClient() as poster:
            statuses: list[int] = []
            for name, secret in (
                *(("builds", given[key]) for key in ("hook.secret", "hook.old", "imap.wrong")),
                ("nobody", given["hook.secret"]),
            ):
                body = b'{"title": "red", "text": "Anna must look at the build by Friday."}'
                headers = signed(secret, body, clock.now(), id=f"msg-{len(statuses)}")
                posted = await poster.post(f"{hooks}/{name}", content=body, headers=headers)
                statuses.append(posted.status_code)
                told.words[f"post {len(told.words)}"] = posted.content
            assert statuses == [202, 202, 401, 401]
            operator = f"http://{(await hub.get('/v1/status'))['listeners']['operator']}"
            for shown in (viewer, f"{viewer}x"):
                secrets.plant("what was shown", shown)
                for path in ("/v1/status", "/v1/tokens", "/v1/none"):
                    heard = await poster.get(
                        f"{operator}{path}", headers={"authorization": f"Bearer {shown}"}
                    )
                    told.words[f"as eve {path} {len(told.words)}"] = heard.content

        # Runs, a hub that is killed, and one that is told to say where it stands before it dies.
        for name in ("post", "builds"):
            await hub.ended(await hub.start_run(name))
        told.words["process"] = process_words(hub.pid)
        await told.ask_everything()
        for words in (
            *(("connectors", "show", "google"), ("connectors", "test", "wrong"), ("config", "show")),
            *(("doctor",), ("check", str(tmp_path / "hub.toml"))),
        ):
            await told.type(*words, folder=tmp_path)
        packed, settings_file = tmp_path / "bundle.tar.gz", str(tmp_path / "hub.toml")
        await told.type("debug", "bundle", str(packed), "--config", settings_file, folder=tmp_path)
        with tarfile.open(packed) as archive:
            for part in archive.getmembers():
                inside = archive.extractfile(part)
                assert inside is not None
                told.words[f"bundle: {part.name}"] = inside.read()
        # What was granted and never shown to anybody again, and what seals it.
        for number, family in enumerate(op.families):
            for granted in (family.refresh, *family.spent, *family.access):
                secrets.plant(f"token of grant no. {number}", granted)
        sealing = tmp_path / FILE
        for key in sealing.read_text("ascii").splitlines():
            if not key.startswith("#"):
                secrets.plant("key that seals", key.split()[1])
        await hub.kill()
        await hub.start()
        line.hub_url = await hub.device_url()
        os.kill(hub.pid, signal.SIGABRT)
        assert hub.process is not None
        await hub.process.wait()

    assert "Fatal Python error: Aborted" in hub.log()
    assert frames
    assert any(name.startswith("refresh_token") for name in secrets.names)
    assert any(name.startswith("code_verifier") for name in secrets.names)
    leaks = {place: secrets.found_in(words) for place, words in told.words.items()}
    leaks["frames"] = secrets.found_in(b"\n".join(frames))
    where_they_belong = [sealing, *(tmp_path / name for name in given)]
    assert {place: names for place, names in leaks.items() if names} == {}
    assert secrets.found_below(tmp_path, but=where_they_belong) == {}


class RefusingModel:
    """An endpoint that refuses each question, in words that quote secrets."""

    def __init__(self) -> None:
        self.words = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/models"):
            await JSONResponse({"data": []})(scope, receive, send)
            return
        error = {"message": self.words, "code": self.words, "param": self.words, "type": "invalid"}
        await JSONResponse({"error": error}, 400)(scope, receive, send)


@pytest.mark.soak
async def test_no_secret_in_foreign_text_reaches_runs_audit_log_errors_or_diagnostics(
    tmp_path: Path,
) -> None:
    (tmp_path / "desk" / "notes").mkdir(parents=True)
    (tmp_path / "key").write_text("the-key-of-the-hub")
    model, told = RefusingModel(), dict[str, bytes]()
    async with AsyncExitStack() as opened:
        url = await opened.enter_async_context(serving(model))
        table = model_at(f"{url}/v1") + '\napi_key = { file = "key" }'
        hub = FaultyHub(tmp_path, settings=SETTINGS.format(model=table), is_forked=False)
        opened.push_async_callback(hub.close)
        await hub.start()
        device = await opened.enter_async_context(
            open_device(await hub.device_url(), tmp_path / "desk", await hub.token("desk"))
        )
        assert device

        async def ask(method: str, path: str, **options: Any) -> httpx2.Response:
            answer = await hub.ask(method, path, **options)
            told[f"{method} {path} {len(told)}"] = answer.content + str(answer.headers).encode()
            return answer

        made = {"name": "mail", "device": "desk", "data_types": ["tasks"], "prompt": "Find tasks."}
        assert (await hub.ask("POST", "/v1/agents", json=made)).status_code == 201
        for nth, (text, _) in enumerate(SECRET_TEXTS):
            # An owner sees what the prompt says; the history and the archive do not show its secrets.
            changed = await hub.ask("PATCH", "/v1/agents/mail", json={"prompt": f"Find. {text}"})
            assert changed.status_code == 200, changed.text
            status = {"health": ("error", "ok")[nth % 2], "reason": text}
            answered = await hub.ask("PATCH", "/v1/agents/mail/status", json=status)
            assert answered.status_code == 200, answered.text
            key = next((rule for rule in SECRET_RULES if rule.pattern.search(text)), None)
            if key is not None:  # a caller that wrote a password knows it
                await ask("POST", "/v1/agents", json=made | {"name": f"{text} !"})
                await ask("POST", "/v1/agents", json=made | {text: 1})
                await ask("GET", "/v1/agents/" + quote(text, safe=""))
                await ask("GET", "/v1/runs", params={"limit": text})
        notes = tmp_path / "desk" / "notes"
        for begin in range(0, len(SECRET_TEXTS), 8):
            model.words = "\n".join(text for text, _ in SECRET_TEXTS[begin : begin + 8])
            (notes / f"{begin}.txt").write_text(f"Anna must call Bob about {begin} by Friday.")
            await hub.ended(await hub.start_run("notes"))
        for path in ("/v1/audit", "/v1/activity", "/v1/logs", "/v1/runs", "/metrics", "/v1/issues"):
            cursor: str | None = ""
            while cursor is not None:
                page = await ask("GET", path + (f"?limit=200&cursor={cursor}" if cursor else ""))
                kind = page.headers["content-type"]
                cursor = page.json().get("next_cursor") if kind == "application/json" else None
        for run in (await hub.get("/v1/runs"))["runs"]:
            await ask("GET", f"/v1/runs/{run['id']}")
        await ask("GET", "/v1/agents/mail/status")
        packed = tmp_path / "bundle.tar.gz"
        command = [sys.executable, "-m", "hub", "--state", str(tmp_path), "debug", "bundle", str(packed)]
        command += ["--config", str(tmp_path / "hub.toml")]
        await anyio.run_process(command)
        with tarfile.open(packed) as archive:
            for part in archive.getmembers():
                inside = archive.extractfile(part)
                assert inside is not None
                told[f"bundle: {part.name}"] = inside.read()
        told["log"] = hub.log().encode()
    assert sum(name.startswith("bundle: ") for name in told) > 8
    unread = {
        (name, part)
        for name, words in told.items()
        for _, parts in SECRET_TEXTS
        for part in parts
        if part.encode() in words
    }
    assert sorted(unread) == []


@pytest.mark.parametrize("around", ["{}", "x{}y", "?a={}&b=1", '{{"k": "{}"}}'])
def test_secret_is_found_in_every_encoding(around: str) -> None:
    secrets = Secrets()
    secrets.plant("it", "a secret/with+signs=")
    for spelled in ("a secret/with+signs=", "a%20secret%2Fwith%2Bsigns%3D"):
        assert secrets.found_in(around.format(spelled).encode()) == {"it"}
    assert secrets.found_in(b"a secret") == set()
