"""Reasons why a device, a place of its rows, an account or a model is away.

Each has a word, a sentence, a remedy, and a time from which it counts as lasting.

A device that leaves on purpose names a word of ``LEAVING`` in its close frame, as
``{"r": "paused"}``. The hub keeps the word in the history of the device's agents.
Other words of a device are dropped.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from protocol.calls import PlaceProblem

DAY_S: Final = 86_400.0
AT_ONCE: Final = 0.0
AFTER_MINUTES: Final = 600.0  # a machine that restarts is back by then
AFTER_DAYS: Final = 3 * DAY_S  # longer than a weekend


class AwayCause(msgspec.Struct, frozen=True):
    """Reason why a device, a place, an account or a model is away. *remedy*: what mends it, and where.

    Attributes:
        lasts_after_s: after this time a passing reason counts as lasting; 0: it is lasting from the first.
    """

    sentence: str
    remedy: str
    lasts_after_s: float = AFTER_MINUTES


_START: Final = "on {device}, start it as before: hub up, hub device run or hub connect"
LEAVING: Final[Mapping[str, AwayCause]] = {
    "paused": AwayCause("its owner paused it", "on {device}: hub device resume", AFTER_DAYS),
    "quiet_hours": AwayCause(
        "its quiet hours are not over", "it comes back by itself after them", AFTER_DAYS
    ),
    "on_battery": AwayCause("it runs on its battery", "it comes back by itself on mains power", AFTER_DAYS),
    "metered": AwayCause("its network charges by volume", "another network mends it", AFTER_DAYS),
    "stopped": AwayCause("its program was ended there", _START),
    "reconnecting": AwayCause("it connects anew", _START),
}
AWAY: Final[Mapping[str, AwayCause]] = {
    **LEAVING,
    "device_closed": AwayCause("its program closed the connection", _START),
    "connection_lost": AwayCause("its machine or its network is off", _START),
    "too_large": AwayCause(
        "it sent a message that is too large",
        "update its program; what it did: hub logs --device {device}",
        AT_ONCE,
    ),
    "bad_frame": AwayCause(
        "it broke the protocol", "update its program; what it did: hub logs --device {device}", AT_ONCE
    ),
    "slow_consumer": AwayCause("it did not read what was sent to it", "see to its network and its load"),
}
SHARE_MORE: Final = (
    "on {device}, share it: add it to roots of the file that hub device status names, or start hub connect"
    " with one more --root FOLDER"
)
NO_FOLDER: Final = AwayCause(
    "{folders} was moved or renamed, or its disk is not there",
    "on {device}: put it back, or name its new path: hub up FOLDER; of a hub elsewhere: hub help device",
    AT_ONCE,
)
PLACE_CAUSES: Final[Mapping[str, AwayCause]] = {
    PlaceProblem.UNREACHABLE: AwayCause(
        "it cannot be reached",
        "put its folder or disk back, or see to its server; what waits follows by itself",
        DAY_S,
    ),
    PlaceProblem.DENIED: AwayCause(
        "it refuses the user or the password, or there is none",
        "type the password at Change of the page Places; or: hub places remove NAME, then hub places add",
        AT_ONCE,
    ),
    PlaceProblem.READ_ONLY: AwayCause(
        "it cannot be written", "make it writable, or choose another place: hub places add", AT_ONCE
    ),
    PlaceProblem.FULL: AwayCause("its disk is full", "make room there; what waits follows by itself"),
    PlaceProblem.MISSING: AwayCause(
        "it is missing, or empty as a whole",
        "put it back, or connect its disk; if it is lost, write all again: hub device sync --again",
    ),
    PlaceProblem.UNREADABLE: AwayCause(
        "something in it cannot be read", "correct what is named there: hub places", AT_ONCE
    ),
    PlaceProblem.REFUSED: AwayCause("it refuses an item", "change the item that is named: hub places"),
    PlaceProblem.BUSY: AwayCause("it is busy, or another program changes it", "what waits follows by itself"),
    PlaceProblem.WRONG: AwayCause(
        "it is a place of another kind",
        "choose the right one at Change of the page Places; or: hub places remove NAME, then hub places add",
        AT_ONCE,
    ),
    PlaceProblem.UNCONFIRMED: AwayCause(
        "its owner has to agree first", "if that is meant: hub device sync --agree NAME", AT_ONCE
    ),
    PlaceProblem.FAILED: AwayCause(
        "it fails", "what waits is tried again; the log of the device says more: hub device status", AT_ONCE
    ),
}
_TEST: Final = "then: hub connectors test {account}"
_ADDRESS: Final = f"hub config set connectors.{{account}}.settings.KEY=VALUE; {_TEST}"
ACCOUNT: Final[Mapping[str, AwayCause]] = {  # by state, or by code of the error
    "sign_in": AwayCause("needs a sign-in", "hub connectors login {account}", AT_ONCE),
    "secret": AwayCause("needs another secret", f"correct the one that hub.toml names; {_TEST}", AT_ONCE),
    "provider_forbidden": AwayCause(
        "may not be read", f"ask the administrator of its provider to allow it; {_TEST}", AT_ONCE
    ),
    "bad_connector": AwayCause(
        "has settings that do not fit", f"put right what is named, or change it: {_ADDRESS}", AT_ONCE
    ),
    "provider_quota": AwayCause("has no quota left", f"see to its plan at the provider; {_TEST}", AT_ONCE),
    "message_unreadable": AwayCause("cannot be read", f"see to that message; {_TEST}", AT_ONCE),
    "never_reached": AwayCause(
        "was never reached as it is set up", f"is its address right? correct it: {_ADDRESS}", AT_ONCE
    ),
    "provider_unavailable": AwayCause(
        "did not answer", "its runs try it again; at once: hub connectors test {account}"
    ),
    "provider_busy": AwayCause(
        "wants a pause", "its runs go on after it; at once: hub connectors test {account}"
    ),
    "cursor_lost": AwayCause(
        "no longer knows how far it was read", "its runs begin anew; at once: hub connectors test {account}"
    ),
    "untested": AwayCause("was not read yet", "hub connectors test {account}"),
}
_ASK: Final = "hub config edit; then: hub doctor --online"
MODEL: Final[Mapping[str, AwayCause]] = {  # by code of the error, or by reason of an exhausted one
    "model_refused": AwayCause("it refuses every question", f"correct what is named: {_ASK}", AT_ONCE),
    "billing": AwayCause("its account is spent", f"see to its plan, or name another: {_ASK}", AT_ONCE),
    "rate_limit": AwayCause("it wants a pause", f"it is asked again by itself; or name another: {_ASK}"),
    "model_unavailable": AwayCause("it does not answer", f"start it, or correct its address: {_ASK}"),
}
MAX_NAMED: Final = 3  # folders
MAX_PATH: Final = 200  # characters of one
FOLDER_MISSING: Final = "no_folder"  # code of a run that reads only a folder that is not there
LEFT: Final = "its device left"
_MISSING: Final = "its device has no folder "


def word_of(close_reason: str) -> str | None:
    """Return the word with which a device leaves on purpose, from the text of its close frame."""
    try:
        word = msgspec.json.decode(close_reason, type=dict[str, object]).get("r", "")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return word if isinstance(word, str) and word in LEAVING else None


def left_by(word: str | None) -> str:
    """Return the text for the history of agents whose device left."""
    return LEFT if word is None else f"{LEFT} ({word.replace('_', ' ')})"


def without_folders(missing: Sequence[str]) -> str:
    """Return the text for the history of agents whose device is connected, and shares nothing."""
    unnamed = len(missing) - MAX_NAMED
    more = f" and {unnamed} other{'s' * (unnamed > 1)}" if unnamed > 0 else ""
    return _MISSING + ", ".join(path[:MAX_PATH] for path in missing[:MAX_NAMED]) + more


def cause_of(text: str | None) -> AwayCause | None:
    """Return the cause that a text of the history names, with its folders; None for other texts."""
    if text is None:
        return None
    if text.startswith(_MISSING):
        folders = text.removeprefix(_MISSING).replace("{", "{{").replace("}", "}}")
        sentence = NO_FOLDER.sentence.replace(" was ", " were ") if ", " in folders else NO_FOLDER.sentence
        return msgspec.structs.replace(NO_FOLDER, sentence=sentence.replace("{folders}", folders))
    return AWAY.get(text.removeprefix(f"{LEFT} (").removesuffix(")").replace(" ", "_"))


def describe_cause(text: str | None, device: str) -> str | None:
    """Return the cause in a text of the history as a sentence with its remedy; None: it names none."""
    cause = cause_of(text)
    return None if cause is None else f"{cause.sentence}; {cause.remedy}".format(device=device)


def account_cause(
    account: str, state: str, code: str | None, *, is_granted: bool, was_reached: bool
) -> AwayCause:
    """Return why an account is not read, with the remedy for the account of that name.

    Args:
        is_granted: a person signs in; otherwise hub.toml names its secret.
        was_reached: it worked with its present settings and sign-in; otherwise its address may be wrong.
    """
    if state == "sign_in":
        word = state if is_granted else "secret"
    elif code == "provider_unavailable" and not was_reached:
        word = "never_reached"
    else:
        other = "bad_connector" if state == "blocked" else "provider_unavailable"
        word = code if code and code in ACCOUNT else other
    cause = ACCOUNT[word]
    return msgspec.structs.replace(cause, remedy=cause.remedy.format(account=account))
