"""A device lets its owner sign in: one answer with the right state goes to the hub, and nothing else."""

from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest

from hub.clock import SystemClock
from hub.device.app import SHOWN_A_MINUTE, Browser
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Parameters
from protocol.work import Action, Answer, ToolCall
from tests.support.families import each

pytestmark = pytest.mark.anyio
URL = "https://op.example/authorize?state=s"


class Hub:
    """A line to a hub that answers requests in the order of *answers*."""

    def __init__(self, *answers: ErrorBody | None) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def request(self, method: Method, params: Parameters) -> Response:
        self.asked.append(Request(id="r", method=method, params=params))
        error = self.answers.pop(0)
        return Response(id="r", error=error) if error else Response(id="r", result={})


class Desk:
    """A device whose owner *agrees*, or does not, to what they are asked."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.told: list[str] = []
        self.asked: list[str] = []
        self.opened: list[str] = []
        self.agrees = agrees
        self.browser = Browser(SystemClock(), self.told.append, self._ask, self._open)

    async def _ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.agrees

    def _open(self, url: str) -> bool:
        self.opened.append(url)
        return True

    async def call(self, **data: Any) -> Answer:
        said = {"sign_in_id": "one", "account": "work"} | data
        frame = ToolCall(id="c-1", action=Action.BROWSER_OPEN, data=said)
        return await self.browser.done(frame)

    async def listen(self, id: str = "one") -> str:
        answer = await self.call(sign_in_id=id, listen=True, state="s")
        assert isinstance(answer.result, dict)
        return f"http://127.0.0.1:{answer.result['port']}"


async def get(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=10) as browser:
        return await browser.get(url)


async def test_one_redirect_with_the_right_state_is_forwarded_and_the_listener_is_closed() -> None:
    desk = Desk()
    at = await desk.listen()
    assert await desk.listen() == at  # the call came twice
    assert ((await desk.call(url=URL)).result, desk.opened) == ({"opened": False}, [])
    hub: Any = Hub(None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.browser.serve, hub)
        for wrong in ("/", "/?state=x&code=y", "/?state=s", "/favicon.ico"):
            assert (await get(at + wrong)).status_code == 404
        page = await get(at + "/?state=s&code=the-code")
        tasks.cancel_scope.cancel()
    assert desk.opened == [URL]
    assert "Signed in" in page.text
    assert "the-code" not in page.text + repr(desk.told)
    (asked,) = hub.asked
    assert (asked.method, asked.params) == (
        "sign_ins.answer",
        {"sign_in_id": "one", "state": "s", "code": "the-code"},
    )
    with pytest.raises(httpx2.TransportError):
        await get(at + "/?state=s&code=again")


async def test_a_redirect_is_forwarded_over_the_next_connection() -> None:
    desk = Desk()
    at = await desk.listen()
    pages: list[httpx2.Response] = []

    async def browse() -> None:
        pages.append(await get(at + "/?state=s&error=access_denied"))

    refused = ErrorBody(code="sign_in_failed", message="it was <not> allowed", retryable=False)
    hub: Any = Hub(refused)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(browse)
        await anyio.sleep(0.1)  # nobody is connected
        async with anyio.create_task_group() as connection:
            connection.start_soon(desk.browser.serve, hub)
            while not pages:  # noqa: ASYNC110 - a thread answers
                await anyio.sleep(0.02)
            connection.cancel_scope.cancel()
    assert "it was &lt;not&gt; allowed" in pages[0].text
    assert hub.asked[0].params["error"] == "access_denied"


@each("agrees", [True, False])
async def test_the_owner_is_shown_the_address_and_asked_before_a_browser_is_opened(agrees: bool) -> None:
    desk = Desk(agrees=agrees)
    await desk.listen()
    for _ in range(2):  # a call that comes again is asked once
        assert (await desk.call(url=URL)).result == {"opened": False}
    assert desk.told == [f"the hub asks you to sign in to work: {URL}"]
    hub: Any = Hub()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.browser.serve, hub)
        with anyio.fail_after(5):
            while desk.browser._doors["one"].url is not None:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert (desk.asked, desk.opened) == (["open op.example in the browser?"], ([URL] if agrees else []))


async def test_a_hub_shows_few_addresses_a_minute() -> None:
    desk = Desk()
    answers = []
    for number in range(SHOWN_A_MINUTE + 1):
        await desk.listen(str(number))
        answers.append((await desk.call(sign_in_id=str(number), url=URL)).error)
    *shown, refused = answers
    assert shown == [None] * SHOWN_A_MINUTE
    assert refused is not None and refused.code == ErrorCode.RATE_LIMITED
    assert len(desk.told) == SHOWN_A_MINUTE


@each(
    "url",
    [
        *("file:///etc/passwd", "http://example.org/", "javascript:1", "", "https://"),
        *("http://127.0.0.1:8771/v1/agents", "https://127.0.0.1/", "https://[::1]/", "https://localhost/"),
        *("https://192.168.1.1/", "https://169.254.169.254/latest", "https://router/", "https://nas.local/"),
        *(
            "https://127.1/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://[x]/",
            "https://nas.lan",
        ),
        *(
            r"https://evil.example\@op.example/",
            "https://op.example@evil.example/",
            "https://127.0.0.1\\@a.b/",
        ),
        *(
            "https://op.example/\x00",
            "https://\u0430.example/",
            "https://op.example/ x",
            "https://a.b/" + "x" * 3_000,
        ),
    ],
)
async def test_no_address_but_a_web_page_of_another_machine_is_shown(url: str) -> None:
    desk = Desk()
    await desk.listen()
    assert (await desk.call(url=url)).error is not None
    assert desk.told == []


async def test_no_page_is_opened_for_a_sign_in_without_a_listener() -> None:
    assert (await Desk().call(url=URL)).error is not None
