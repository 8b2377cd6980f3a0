"""Explanations of failed runs for people: cause and remedy of each error code."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from hub.base.printable import shell_word
from protocol.causes import FOLDER_MISSING, NO_FOLDER, SHARE_MORE
from protocol.errors import CATALOGUE, ErrorCode
from storage.runs.runs import RunError, RunRow


class ExplainedFailure(NamedTuple):
    """Sentence about a failure and the step that mends it, as templates or with the names of a run."""

    sentence: str
    remedy: str


_PATHS: Final = {  # by the source of the agent: the command that changes its paths
    "file": "hub config set 'agents.{agent}.paths=[\"PATH\"]'",
    "api": "hub agents edit {agent} --path PATH",
}
_AGAIN: Final = "it is read again by the next run: hub run {agent}"
_SPLIT: Final = "split it, or move it to a folder that the agent does not read"
_LIMIT: Final = "raise the limit: hub config set limits.NAME=NUMBER; or let the agent read less: {paths}"
_REPORT: Final = "hub logs --level error has the details; please report this fault of the hub to its authors"
# Other codes are those of the protocol: the stored message is their sentence, their hint is the remedy.
FAILURES: Final[Mapping[str, ExplainedFailure]] = {
    # Files, as their device says; a detail may follow the code.
    "missing": ExplainedFailure(
        "device {device} has no {path} in the folders that it shares", "correct the paths: {paths}"
    ),
    "unreadable": ExplainedFailure(
        "device {device} is not allowed to read {path}",
        "on {device}: chmod u+r {quoted}; for a folder: chmod u+rx {quoted}",
    ),
    "bad_ignore_file": ExplainedFailure(
        "device {device} offers nothing of {path}: an ignore file there is broken{more}",
        "on {device}: mend that line",
    ),
    "changed": ExplainedFailure("{path} changed while it was read", _AGAIN),
    "too_large": ExplainedFailure("{path} is too large{more}", _SPLIT),
    "too_deep": ExplainedFailure("{path} lies in too many folders inside each other", "move it up: {paths}"),
    "limit": ExplainedFailure("device {device} has more files than it can list{more}", _SPLIT),
    "result_too_large": ExplainedFailure(
        "{where}{message}",
        "look on {device}: the item may be there; correct its program: hub help write-a-device",
    ),
    "convert_seconds": ExplainedFailure("making text of {path} takes too long{more}", _SPLIT),
    "convert_memory_bytes": ExplainedFailure("making text of {path} needs too much memory{more}", _SPLIT),
    "not_convertible": ExplainedFailure("{path} cannot be made into text{more}", _SPLIT),
    "skipped": ExplainedFailure("files were left out: {message}", "hub runs show {run} lists the first"),
    # Files and runs, as the hub says.
    "file_changed": ExplainedFailure("{path} changed while it was read", _AGAIN),
    "file_incomplete": ExplainedFailure("not all of {path} came: {message}", _AGAIN),
    "unit_failed": ExplainedFailure("{where}{message}", "hub runs show {run} has all of it"),
    "model_refused": ExplainedFailure(
        "{where}{message}", "correct the setting that it names, then: hub reload; hub runs rerun {run}"
    ),
    "model_unavailable": ExplainedFailure("{where}{message}", "ask it: hub doctor --online"),
    "limit_reached": ExplainedFailure("{where}{message}", _LIMIT),
    "nothing_shared": ExplainedFailure(
        "device {device} shares none of the folders that the agent reads",
        f"correct the paths: {{paths}}; or {SHARE_MORE}",
    ),
    FOLDER_MISSING: ExplainedFailure("{message}", NO_FOLDER.remedy),
    "not_granted": ExplainedFailure(
        "{where}{message}", "who runs the hub grants it: hub devices grant {device} +files"
    ),
    "unknown_table": ExplainedFailure(
        "{where}{message}", "update device {device}, or let the agent write another table"
    ),
    "call_unsupported": ExplainedFailure(
        "{where}{message}",
        "on {device}, start a program that can do it: hub help write-a-device; or change agent {agent}",
    ),
    "run_failed": ExplainedFailure("{where}{message}", "hub runs show {run} has all of it"),
    "attempt_failed": ExplainedFailure("{where}{message}", "hub runs show {run} has all of it"),
    "crash_loop": ExplainedFailure("the hub ended again and again while the run was under way", _REPORT),
    "hub_error": ExplainedFailure("an error of the hub ended the run", _REPORT),
    "internal": ExplainedFailure("a fault of the hub ended it: {message}", _REPORT),
    "paused_too_long": ExplainedFailure(
        "{where}{message}", "see what it waited for: hub runs show {run}; then hub run {agent}"
    ),
}


def explain(error: RunError, run: RunRow, device: str) -> ExplainedFailure:
    """Return the sentence about an error of a run on *device*, and what mends it."""
    more = error.message.removeprefix(error.code)
    known = FAILURES.get(error.code)
    if known is None:
        hint = CATALOGUE[ErrorCode(error.code)].hint if error.code in CATALOGUE else "hub runs show {run}"
        known = ExplainedFailure("{where}{message}", hint)
    names = {
        "agent": run.agent_name,
        "device": device or "of the agent",
        "message": error.message or error.code.replace("_", " "),
        "more": more if more.startswith(":") else "",
        "path": error.unit_key or "a file",
        "quoted": shell_word(error.unit_key or "FILE"),
        "where": f"{error.unit_key}: " if error.unit_key else "",
        "run": run.id[-8:],
    }
    names["paths"] = _PATHS[run.agent_source].format_map(names)
    return ExplainedFailure(known.sentence.format_map(names), known.remedy.format_map(names))


def describe_errors(
    errors: Sequence[RunError], *, failed: int, describe: Callable[[RunError], str]
) -> str | None:
    """Summarize the errors of a run: ``3 failed: 2 too_large, 1 changed; first: a.md is too large``.

    Args:
        errors: the stored errors; only the first errors of a run are stored.
        failed: total number of failed files or messages.
        describe: returns the sentence about one error.
    """
    of_files = [error for error in errors if error.unit_key]
    # A file has an error for each of its calls.
    codes = Counter({error.unit_key: error.code for error in reversed(of_files)}.values())
    counted = [f"{count} {code}" for code, count in codes.most_common()] if len(codes) > 1 else []
    recorded = codes.total()
    first = f"{failed} failed" + (f"; the first {recorded}" if 0 < recorded < failed else "")
    sentences = [describe(error) for error in of_files[:1]]
    if counted:
        sentences = [f"{', '.join(counted)}; first: {sentences[0]}"]
    of_units = ": ".join(filter(None, (first if failed else "", *sentences)))
    of_run = dict.fromkeys(describe(error) for error in errors if not error.unit_key)
    return "; ".join(filter(None, (of_units, *of_run))) or None
