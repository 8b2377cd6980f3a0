"""Refused at verdicts and proposals, as a whole; one bad one of several is answered for itself."""

from typing import Any

from tests.hub.refused.row import Refused, Rest

PATH = "/v1/items/verdicts"


def give(*verdicts: Any) -> Rest:
    return Rest("POST", PATH, {"verdicts": verdicts})


PROPOSALS = "/v1/items/proposals"


def propose(**changed: Any) -> Rest:
    return Rest(
        "POST", PROPOSALS, {"proposals": [{"item": "i-1", "verdict": "reject", "why": "x"} | changed]}
    )


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
    Refused("proposals-that-are-missing", Rest("POST", PROPOSALS, {}), "bad_params", ("proposals",)),
    Refused("a-proposal-to-undo", propose(verdict="undo"), "bad_params", ("verdict",)),
    Refused("a-proposal-without-a-reason", propose(why=None), "bad_params", ("why",)),
    Refused("a-proposal-on-version-0", propose(version=0), "bad_params", ("1",)),
    Refused("a-proposal-with-a-list", propose(data=[]), "bad_params", ("data",)),
    Refused(
        "501-proposals",
        Rest("POST", PROPOSALS, {"proposals": [{"item": "i", "verdict": "reject", "why": "x"}] * 501}),
        "bad_params",
        ("500",),
    ),
    Refused("a-proposal-that-is-not-there", Rest("DELETE", f"{PROPOSALS}/p-9"), "unknown_item", ("p-9",)),
    Refused(
        "a-number-that-is-declined",
        Rest("POST", f"{PROPOSALS}/declined", {"proposals": [1]}),
        "bad_params",
        ("proposals[0]",),
    ),
)
