"""Attacks on the HTTP listeners: over TCP with a good token or none, and over the Unix socket."""

from functools import partial
from typing import Any, Final

from tests.scenarios.attack import AND_MORE, SMALL, Attack, Door
from tests.scenarios.attackers import Plan

_MIB: Final = 1024 * 1024
_SHOWN: Final = "Authorization: Bearer {token}"  # the attacker puts its own there
_CHUNKS: Final = "1\r\nx\r\n"  # of a body, a byte each


def operator_attacks(seconds: float) -> list[Attack]:
    """All of them, each so long."""
    attack = partial(Attack, door=Door.OPERATORS)
    small = partial(attack, limits=SMALL, agents=1)

    def plan(sockets: int, head: str, **said: Any) -> Plan:
        return Plan(seconds=seconds, sockets=sockets, head=head, **said)

    status = _head("GET /v1/status", _SHOWN)
    waiting = _head("POST /v1/users", _SHOWN, "Content-Type: application/json", "Content-Length: 100")
    endless = _head("POST /v1/users", "Content-Type: application/json", "Transfer-Encoding: chunked")
    declared = _head("POST /v1/users", "Content-Type: application/json", f"Content-Length: {2 * _MIB}")
    return [
        attack(
            name="heads of 40 KiB",
            plan=plan(4, _head("GET /v1/status", "X-Padding: " + "x" * 40_000), again=True),
            must="431 too_large",
            may=AND_MORE,
        ),
        attack(
            name="a head byte by byte",
            plan=plan(16, _head("GET /v1/status"), drip=20),
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
            must="411 bad_params",
            may=AND_MORE,
        ),
        attack(
            name="posts in chunks of a byte",
            door=Door.HOOKS,
            plan=plan(8, endless.replace("/v1/users", "/hooks/none"), flood=_CHUNKS, again=True),
            must="411 bad_params",
            may=AND_MORE,
        ),
        attack(
            name="requests that wait for no response",
            plan=plan(8, _head("GET /healthz"), flood=_head("GET /healthz"), again=True),
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
            plan=plan(14, _head("GET /v1/events", _SHOWN)),
            role="admin",
            must="503 overloaded",
            may=("200",),
        ),
        attack(
            name="sockets without a request",
            plan=plan(100, "", addresses=40),
            must="503 overloaded",
            may=("408 hello_timeout", "cut", "open"),
            limit="operator_strangers",
        ),
        attack(
            name="the same of one address",
            plan=plan(40, ""),
            must="503 overloaded",
            may=("408 hello_timeout", "cut", "open"),
            limit="operator_strangers_per_network",
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
            may=("400 bad_params", *AND_MORE),
            limit="operator_new_connections_per_s",
        ),
        small(
            name="too many on the Unix socket",
            door=Door.UNIX,
            plan=plan(64, _head("GET /v1/status")),
            must="503 overloaded",
            may=("200", "cut"),
        ),
    ]


def _head(asked: str, *headers: str) -> str:
    return "\r\n".join([f"{asked} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])
