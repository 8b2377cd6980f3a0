"""Attacks on every limit of both doors: what is done to the hub, and what it must answer."""

import zlib
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from tests.scenarios.attackers import Plan, frame, ping, text

AGENT: Final = "agent"  # as a role
AND_MORE: Final = ("429 rate_limited", "503 overloaded", "cut", "open")  # to those who come again and again


# One hub for all who attack what there may be few of.
SMALL: Final = """\
connections = 16
connections_per_network = 8
ping_interval_s = 0.3
ping_timeout_s = 1.0
run_files = 20
run_bytes = 262144
operator_connections = 32
"""


class Door(StrEnum):
    """Where an attack comes in."""

    DEVICES = "devices"
    OPERATORS = "operators"  # over TCP
    UNIX = "unix"  # the operators' socket
    HOOKS = "hooks"  # the webhooks' listener


class Attack(msgspec.Struct, kw_only=True, frozen=True):
    """One of them.

    Attributes:
        must: an answer that somebody gets; *may*: what else may be answered.
        limit: the name of the limit in ``[limits]`` that the hub counts as reached, if it is one of those.
        devices: so many devices of the attacker are paired, one socket each.
        role: the attacker is an operator of this role, or an ``agent``, with a token of its own.
        listen, limits: lines of the settings.
        given: other values of constants, as ``tests.support.faulty_hub`` takes them.
        files: what the hub may open.
        agents: so many, with long paths, are the first of the attacker's devices'.
        has_run: a person starts the first of these agents.
        is_slow: the hub counts it as one that does not read.
        has_operator_beside: an operator with a token asks from the attacker's address.
    """

    name: str
    plan: Plan
    must: str
    may: tuple[str, ...] = ()
    door: Door = Door.DEVICES
    limit: str = ""
    devices: int = 0
    role: str = ""
    listen: str = ""
    limits: str = ""
    given: tuple[str, ...] = ()
    files: int = 0
    agents: int = 0
    has_run: bool = False
    is_slow: bool = False
    has_operator_beside: bool = False


_MIB: Final = 1024 * 1024
TIMED_OUT_S: Final = 2.0  # the deadlines of a hub are looked at four times a second


def device_attacks(seconds: float) -> list[Attack]:
    """All of them, each so long."""

    def plan(sockets: int, *, at_least_s: float = 0.0, **said: Any) -> Plan:
        return Plan(seconds=max(seconds, at_least_s), sockets=sockets, **said)

    def wire(data: bytes) -> str:
        return data.decode("latin-1")

    piece = {"path": "a.md", "content": "x" * 250_000}
    upload = text(type="agent_data", run_id="r-none", seq=1, files=[piece])
    questions = b"".join(text(type="request", id=f"q-{n}", method="agents.list") for n in range(400))
    bomb = _bomb(256 * _MIB)
    return [
        Attack(
            name="strangers of one address",
            plan=plan(40, head=""),
            must="503 overloaded",
            may=AND_MORE,
            limit="strangers_per_network",
        ),
        Attack(
            name="sockets that say nothing",
            plan=plan(400, addresses=40, head=""),
            must="503 overloaded",
            may=("cut", "open"),
            limit="strangers",
        ),
        Attack(name="a request byte by byte", plan=plan(16, drip=20), must="cut"),
        Attack(
            name="requests of 40 KiB", plan=plan(4, head=_long_head(), again=True), must="431", may=AND_MORE
        ),
        Attack(name="a WebSocket without a hello", plan=plan(16, at_least_s=TIMED_OUT_S), must="close 4000"),
        Attack(
            name="hellos of 40 KB",
            plan=plan(4, hello=wire(frame(1, b"x" * 40_000)), again=True),
            must="close 1009",
            may=AND_MORE,
        ),
        Attack(
            name="frames that declare 1 TiB",
            plan=plan(4, hello=wire(frame(1, b"x", declared=1 << 40)), again=True),
            must="close 1009",
            may=AND_MORE,
        ),
        Attack(
            name="connecting without end",
            plan=plan(40, head="", again=True),
            must="429 rate_limited",
            may=AND_MORE,
            limit="new_connections_per_s",
        ),
        Attack(
            name="too many devices of one user",
            plan=plan(20, addresses=20),
            devices=20,
            must="close 1013",
            may=("welcome",),
            limit="connections_per_user",
        ),
        Attack(
            name="wrong tokens",
            plan=plan(1, tokens=["hub_dev_wrong"], again=True),
            must="close 4029",
            may=("close 4501", *AND_MORE),
        ),
        Attack(
            name="a flood of pings",
            plan=plan(8, flood=wire(ping())),
            devices=8,
            must="welcome",
            limit="frames_per_s",
        ),
        Attack(
            name="much is asked, and nothing read",
            plan=Plan(seconds=max(seconds, 5.0), sockets=1, start=wire(questions), reads=False),
            devices=1,
            must="welcome",
            may=("cut",),
            limit="outgoing_bytes",
            is_slow=True,
            agents=10,  # so that the answers are more than the kernel holds for a socket
            limits="frames_per_s = 30.0",
            given=(
                "hub.links.link_limits:LinkLimits.outgoing_bytes=65536",
                "hub.links.link_limits:LinkLimits.write_deadline_s=0.3",
            ),
        ),
        Attack(
            name="a flood of answers",
            plan=plan(8, flood=wire(text(type="tool_result", id="c-none", result=1))),
            devices=8,
            must="welcome",
            limit="frames_per_s",
        ),
        Attack(
            name="a flood of uploads",
            plan=plan(8, flood=wire(upload)),
            devices=8,
            must="welcome",
            limit="bytes_per_s",
        ),
        Attack(
            name="a message in fragments of a byte",
            plan=plan(8, start=wire(frame(1, b"x", fin=False)), flood=wire(frame(0, b"x", fin=False))),
            devices=8,
            must="welcome",
            limit="frames_per_s",
        ),
        Attack(
            name="259 KiB that unfold to 256 MiB",
            plan=plan(4, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}, start=wire(bomb)),
            devices=4,
            must="close 1009",
            listen="compression = true",
        ),
        Attack(
            name="more sockets than files",
            plan=plan(400, addresses=40, head="", again=True),
            must="cut",
            may=("open", "503 overloaded", "503 too_many_connections", "429 rate_limited"),
            limit="open_files",
            limits="new_connections_per_s = 5000.0",
            files=160,
        ),
        Attack(
            name="a rebound host name",
            plan=plan(4, headers={"Host": "evil.example"}, again=True),
            must="421 wrong_host",
            may=AND_MORE,
        ),
        Attack(
            name="a page of another origin",
            plan=plan(4, headers={"Origin": "https://evil.example"}, again=True),
            must="403 foreign_origin",
            may=AND_MORE,
        ),
        Attack(
            name="a proxy that nobody listed",
            plan=plan(4, headers={"X-Forwarded-For": "10.1.1.1"}, again=True),
            must="400 untrusted_proxy",
            may=AND_MORE,
        ),
        Attack(
            name="a token in the URL",
            plan=plan(4, path="/v1/device?token=hub_dev_x", again=True),
            must="400 token_in_url",
            may=AND_MORE,
        ),
    ]


def counted_attacks(seconds: float) -> list[Attack]:
    """Those on what there may be so many of: connections, pairings, takeovers, calls, files of a run."""

    def plan(sockets: int, **said: Any) -> Plan:
        return Plan(seconds=seconds, sockets=sockets, **said)

    small = partial(Attack, limits=SMALL, agents=1)
    letters = [{"path": f"{number}.md", "content": "x"} for number in range(100)]
    books = [{"path": f"{number}.md", "content": "x" * 250_000} for number in range(3)]
    boxes = "".join(f"- [ ] Task {number}\n" for number in range(100))
    return [
        small(
            name="too many devices of one address",
            plan=plan(12),
            devices=12,
            must="503 too_many_connections",
            may=("welcome",),
            limit="connections_per_network",
        ),
        small(
            name="too many devices in all",
            plan=plan(24, addresses=24, head=""),
            must="503 too_many_connections",
            may=("cut", "open"),
            limit="connections",
        ),
        Attack(
            name="keys of one address that ask in",
            plan=plan(8, first_key=0),
            must="close 4029",
            may=("close 4510",),
            limit="pairings_per_network",
        ),
        Attack(
            name="keys of many that ask in",
            plan=plan(60, addresses=60, first_key=8),
            must="close 4029",
            may=("close 4510",),
            limit="pairings",
        ),
        Attack(
            name="a device on two machines",
            plan=plan(2, again=True),
            devices=1,
            must="close 4029",
            may=("close 4509", "welcome", *AND_MORE),
            limit="takeovers",
        ),
        small(
            name="devices that are there no more",
            plan=Plan(seconds=max(seconds, 3.0), sockets=8, pongs=False),
            devices=8,
            must="close 1011",
        ),
        small(
            name="a run of too many files",
            plan=plan(1, run=[{"type": "agent_data", "files": letters}]),
            devices=1,
            must="agent_cancel the hub stopped reading",
            limit="run_files",
            has_run=True,
        ),
        small(
            name="a run of too many bytes",
            plan=plan(1, run=[{"type": "agent_data", "files": [book]} for book in books]),
            devices=1,
            must="agent_cancel too_large",
            limit="run_bytes",
            has_run=True,
        ),
        small(
            name="calls that are not answered",
            plan=plan(
                1,
                run=[
                    {"type": "agent_data", "files": [{"path": "boxes.md", "content": boxes}]},
                    {"type": "agent_complete"},
                ],
            ),
            devices=1,
            must="32 calls",
            has_run=True,
        ),
    ]


def _long_head() -> str:
    lines = [f"X-Padding-{number}: {'x' * 4_000}" for number in range(10)]
    return "\r\n".join(["GET /v1/device HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""])


def _bomb(unfolded: int) -> bytes:
    """A compressed message: a text frame with the bit for it set (RFC 7692)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    piece = packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same whatever came before it
    return frame(0x41, (piece * (unfolded // _MIB)).removesuffix(b"\x00\x00\xff\xff"))


SHOWN: Final = "Authorization: Bearer {token}"  # the attacker puts its own there
_CHUNKS: Final = "1\r\nx\r\n"  # of a body, a byte each


def operator_attacks(seconds: float) -> list[Attack]:
    """All of them, each so long."""
    attack = partial(Attack, door=Door.OPERATORS)
    small = partial(attack, limits=SMALL, agents=1)

    def plan(sockets: int, head: str, **said: Any) -> Plan:
        return Plan(seconds=seconds, sockets=sockets, head=head, **said)

    status = head_of("GET /v1/status", SHOWN)
    waiting = head_of("POST /v1/users", SHOWN, "Content-Type: application/json", "Content-Length: 100")
    endless = head_of("POST /v1/users", "Content-Type: application/json", "Transfer-Encoding: chunked")
    declared = head_of("POST /v1/users", "Content-Type: application/json", f"Content-Length: {2 * _MIB}")
    return [
        attack(
            name="heads of 40 KiB",
            plan=plan(4, head_of("GET /v1/status", "X-Padding: " + "x" * 40_000), again=True),
            must="431 too_large",
            may=AND_MORE,
        ),
        attack(
            name="a head byte by byte",
            plan=plan(16, head_of("GET /v1/status"), drip=20),
            must="408 hello_timeout",
        ),
        attack(
            name="bodies said to have 2 MiB",
            plan=plan(4, declared, again=True),
            must="413 too_large",
            may=AND_MORE,
        ),
        attack(
            name="bodies in chunks of a byte",
            plan=plan(8, endless, flood=_CHUNKS, again=True),
            must="413 too_large",
            may=("401 auth_failed", *AND_MORE),
        ),
        attack(
            name="posts in chunks of a byte",
            door=Door.HOOKS,
            plan=plan(8, endless.replace("/v1/users", "/hooks/none"), flood=_CHUNKS, again=True),
            must="413 too_large",
            may=AND_MORE,
        ),
        attack(
            name="requests that wait for no response",
            plan=plan(8, head_of("GET /healthz"), flood=head_of("GET /healthz"), again=True),
            must="200",
            may=AND_MORE,
        ),
        attack(
            name="bodies that do not come",
            plan=plan(16, waiting, addresses=4),
            role="admin",
            must="408 hello_timeout",
        ),
        attack(
            name="too many requests at once",
            plan=plan(60, waiting, addresses=30),
            role="admin",
            must="503 overloaded",
            may=("408 hello_timeout",),
        ),
        attack(
            name="too many event streams",
            plan=plan(14, head_of("GET /v1/events", SHOWN)),
            role="admin",
            must="503 overloaded",
            may=("200",),
        ),
        attack(
            name="sockets without a request",
            plan=plan(140, "", addresses=40),
            must="503 overloaded",
            may=("408 hello_timeout", "cut", "open"),
            limit="operator_strangers",
        ),
        attack(
            name="the same of one address",
            plan=plan(70, ""),
            must="503 too_many_connections",
            may=("408 hello_timeout", "cut", "open"),
            limit="operator_connections_per_network",
        ),
        attack(
            name="wrong tokens of operators",
            plan=plan(16, status, tokens=["hub_op_wrong"]),
            must="429 rate_limited",
            may=("401 auth_failed",),
        ),
        small(
            name="operators of one address",
            plan=plan(12, status),
            role="admin",
            must="503 too_many_connections",
            may=("200",),
            limit="operator_connections_per_network",
        ),
        small(
            name="too many operators",
            plan=plan(64, status, addresses=32),
            role="admin",
            must="503 too_many_connections",
            may=("200", "503 overloaded", "cut"),
            limit="operator_connections",
        ),
        small(
            name="connecting to operate without end",
            plan=plan(8, "?\r\n\r\n", again=True),
            must="429 rate_limited",
            may=("501 unknown_method", *AND_MORE),
            limit="operator_new_connections_per_s",
        ),
        small(
            name="too many on the Unix socket",
            door=Door.UNIX,
            plan=plan(64, head_of("GET /v1/status")),
            must="503 overloaded",
            may=("200", "cut"),
        ),
    ]


def head_of(asked: str, *headers: str) -> str:
    return "\r\n".join([f"{asked} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])


def attacks(seconds: float) -> list[Attack]:
    """All of them, each so long, each from addresses of its own."""
    found = device_attacks(seconds) + counted_attacks(seconds) + operator_attacks(seconds)
    return [
        msgspec.structs.replace(attack, plan=msgspec.structs.replace(attack.plan, subnet=subnet))
        for subnet, attack in enumerate(found, 1)
    ]
