"""What an agent's history shows of one message, in the shapes in which real gateways have shown it."""

from hub.coordination.to_gateway import RESUMED, Progress, shown_of
from hub.openclaw.methods import History, Message, PendingInput


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
    assert shown.progress is Progress.CONSUMED
    return shown.answer


def test_what_is_not_there_is_absent() -> None:
    assert shown_of("k2", history(user("k1"), agent("one", "k1"))).progress is Progress.ABSENT


def test_a_message_waits_among_the_pending_until_its_turn_comes() -> None:
    for state, progress in (
        ("queued", Progress.PENDING),
        ("interrupted", Progress.INTERRUPTED),
        ("cancelled", Progress.CANCELLED),
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


def test_what_was_put_into_a_running_turn_is_answered_by_that_turn() -> None:
    rows = (user("k1"), user("k2"), agent("both", "k1"))
    assert answer(*rows) == "both"
    assert answer(*rows, key="k1") == "both"


def test_what_waited_behind_a_turn_is_answered_under_a_run_of_its_own() -> None:
    assert answer(user("k1"), agent("one", "k1"), user("k2"), agent("two", "a-uuid")) == "two"


def test_a_turn_that_a_restart_broke_off_is_answered_under_the_run_that_took_it_up() -> None:
    rows = (user("k2"), user("a-uuid", source=RESUMED), agent("two", "a-uuid"))
    assert answer(*rows) == "two"


def test_the_answer_to_what_was_said_next_is_not_the_answer_to_this() -> None:
    assert answer(user("k2"), user("k3"), agent("three", "k3")) is None
    assert answer(user("k2"), user("k3"), agent("three", "a-uuid")) is None
    assert answer(user("k2"), user("k3"), agent("two", "k2"), agent("three", "k3")) == "two"


def test_what_was_said_by_another_agent_is_not_the_gateways_own_word() -> None:
    assert answer(user("k2"), user("a-uuid", source="inter_session"), agent("three", "a-uuid")) is None


def test_an_answer_has_words() -> None:
    assert answer(user("k2"), agent("", "k2"), agent("NO_REPLY", "k2")) is None
    assert answer(user("k2"), agent("", "k2"), agent("two", "k2")) == "two"


def test_a_broken_turn_is_reported_with_its_row_unless_it_was_answered_later() -> None:
    shown = shown_of("k2", history(user("k2"), broken("k2")))
    assert (shown.answer, shown.is_unheard) == (None, False)
    assert shown.failure == "The agent run failed before producing a reply."
    assert answer(user("k2"), broken("k2"), agent("two", "k2")) == "two"


def test_a_turn_without_any_model_request_is_marked() -> None:
    shown = shown_of("k2", history(user("k2"), unheard("k2")))
    assert (shown.progress, shown.is_unheard) == (Progress.CONSUMED, True)
    assert shown_of("k2", history(user("k2"), unheard("k1"))).is_unheard is False


def test_what_the_gateway_says_of_the_session_itself_is_passed_over() -> None:
    compacted = Message(role="system", text="Compaction")
    assert answer(user("k2"), compacted, agent("two", "k2")) == "two"


def test_words_of_no_known_run_are_no_answer_once_something_else_was_said() -> None:
    """A gateway puts words into a session that no run has said: told from elsewhere, or injected."""
    injected = Message(role="assistant", text="the backup is done", stop_reason="stop")
    reset = Message(role="system", text="Reset")
    assert answer(reset, user("k2"), user("k3"), injected) is None
    assert answer(injected, user("k2"), agent("let me look", "", "toolUse"), user("k3"), injected) is None
    assert answer(reset, user("k2"), agent("two", "k2")) == "two"
