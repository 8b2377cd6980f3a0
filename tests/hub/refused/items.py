"""Refused at verdicts on items, as a whole; one bad verdict of several is answered for itself."""

from typing import Any

from tests.hub.refused.row import Refused, Rest

PATH = "/v1/items/verdicts"


def give(*verdicts: Any) -> Rest:
    return Rest("POST", PATH, {"verdicts": verdicts})


ROWS = (
    Refused("verdicts-that-are-missing", Rest("POST", PATH, {}), "bad_params", ("verdicts",)),
    Refused(
        "501-verdicts",
        give(*({"id": "i-1", "verdict": "reject"} for _ in range(501))),
        "bad_params",
        ("500",),
    ),
    Refused("a-verdict-on-nothing", give({"verdict": "reject"}), "bad_params", ("id",)),
    Refused("a-verdict-nobody-knows", give({"id": "i-1", "verdict": "maybe"}), "bad_params", ("verdict",)),
    Refused(
        "a-verdict-on-version-0", give({"id": "i-1", "verdict": "reject", "version": 0}), "bad_params", ("1",)
    ),
    Refused(
        "a-verdict-with-a-list", give({"id": "i-1", "verdict": "edit", "data": []}), "bad_params", ("data",)
    ),
)
