"""What an agent's history shows of one message, in the shapes in which real gateways have shown it."""

from hub.coordination.to_gateway import RESUMED, shown_of
from hub.openclaw.methods import History, Message, PendingInput
from tests.support.families import each


def user(key: str, *, source: str | None = None) -> Message:
    return Message(role="user", text=f"text of {key}", key=f"{key}:user", source=source)


def agent(text: str, run: str, stop_reason: str = "stop") -> Message:
    return Message(role="assistant", text=text, run_id=run, stop_reason=stop_reason)


def broken(run: str) -> Message:
    row = agent("The agent run failed before producing a reply.", run, "error")
    return Message(
        role="assistant", text=row.text, run_id=run, stop_reason="error", key=f"{run}:terminal-error"
    )


def unheard(run: str) -> Message:
    return Message(role="custom", text="", run_id=run, kind="run-failed-before-reply")


def history(*rows: Message, pending: tuple[PendingInput, ...] = (), is_running: bool = False) -> History:
    return History(messages=list(rows), pending=list(pending), is_running=is_running)


def answer(*rows: Message, key: str = "k2") -> str | None:
    shown = shown_of(key, history(*rows))
    assert shown.progress == "consumed"
    return shown.answer


def test_what_is_not_there_is_absent() -> None:
    assert shown_of("k2", history(user("k1"), agent("one", "k1"))).progress == "absent"


def test_a_message_waits_among_the_pending_until_its_turn_comes() -> None:
    for state, progress in (
        ("queued", "pending"),
        ("interrupted", "interrupted"),
        ("cancelled", "cancelled"),
    ):
        item = PendingInput(state, "k2", "p-1", 7.0)
        shown = shown_of("k2", history(user("k1"), pending=(item,), is_running=True))
        assert (shown.progress, shown.is_busy) == (progress, True)
        assert shown.proof == {"pending": {"state": state, "run_id": "k2", "id": "p-1", "accepted_at": 7.0}}


def test_a_message_is_answered_by_the_words_of_its_own_turn() -> None:
    rows = (
        user("k1"),
        agent("one", "k1"),
        user("k2"),
        agent("let me look", "k2", "toolUse"),
        agent("two", "k2"),
    )
    assert answer(*rows) == "two"
    shown = shown_of("k2", history(*rows))
    assert shown.proof == {"history": {"role": "user", "key": "k2:user"}}
    assert shown.end_proof == {"history": {"role": "assistant", "run_id": "k2", "stop_reason": "stop"}}


def test_a_broken_turn_is_reported_with_its_row_unless_it_was_answered_later() -> None:
    shown = shown_of("k2", history(user("k2"), broken("k2")))
    assert (shown.answer, shown.is_unheard) == (None, False)
    assert shown.failure == "The agent run failed before producing a reply."


def test_a_turn_without_any_model_request_is_marked() -> None:
    shown = shown_of("k2", history(user("k2"), unheard("k2")))
    assert (shown.progress, shown.is_unheard) == ("consumed", True)
    assert shown_of("k2", history(user("k2"), unheard("k1"))).is_unheard is False


# A gateway puts words into a session that no run has said: told from elsewhere, or injected.
INJECTED = Message(role="assistant", text="the backup is done", stop_reason="stop")
RESET, COMPACTED = Message(role="system", text="Reset"), Message(role="system", text="Compaction")
ANSWERS: dict[str, tuple[tuple[Message, ...], str | None]] = {
    "put into a running turn": ((user("k1"), user("k2"), agent("both", "k1")), "both"),
    "behind a turn, under a run of its own": (
        (user("k1"), agent("one", "k1"), user("k2"), agent("two", "a-uuid")),
        "two",
    ),
    "broken off by a restart, under the run that took it up": (
        (user("k2"), user("a-uuid", source=RESUMED), agent("two", "a-uuid")),
        "two",
    ),
    "to what was said next": ((user("k2"), user("k3"), agent("three", "k3")), None),
    "to what was said next, under another run": ((user("k2"), user("k3"), agent("three", "a-uuid")), None),
    "to both": ((user("k2"), user("k3"), agent("two", "k2"), agent("three", "k3")), "two"),
    "said by another agent": (
        (user("k2"), user("a-uuid", source="inter_session"), agent("three", "a-uuid")),
        None,
    ),
    "no words": ((user("k2"), agent("", "k2"), agent("NO_REPLY", "k2")), None),
    "no words at first": ((user("k2"), agent("", "k2"), agent("two", "k2")), "two"),
    "answered after a broken turn": ((user("k2"), broken("k2"), agent("two", "k2")), "two"),
    "the session itself is passed over": ((user("k2"), COMPACTED, agent("two", "k2")), "two"),
    "no known run, once something else was said": ((RESET, user("k2"), user("k3"), INJECTED), None),
    "no known run, after a tool": (
        (INJECTED, user("k2"), agent("let me look", "", "toolUse"), user("k3"), INJECTED),
        None,
    ),
    "after a reset": ((RESET, user("k2"), agent("two", "k2")), "two"),
}


@each("case", ANSWERS)
def test_the_answer_to_a_message_is_of_its_own_turn(case: str) -> None:
    rows, expected = ANSWERS[case]
    assert answer(*rows) == expected


def test_one_answer_is_of_both_messages_of_a_turn() -> None:
    assert answer(user("k1"), user("k2"), agent("both", "k1"), key="k1") == "both"
