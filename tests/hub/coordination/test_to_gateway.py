"""Texts that agents of a gateway get, and the history of one message, in the shapes of real gateways."""

import msgspec
import pytest

from hub.coordination.gateway_delivery import RESUMED, letter, shown_of
from hub.openclaw.methods import History, PendingInput, TranscriptMessage
from protocol.agent_messages import MessageKind, MessageState
from protocol.calls import answers_in
from protocol.ids import AgentId, BoardId, MessageId, QuestionId, UserId
from storage.coordination.message_rows import MessageRow
from tests.support.families import each


def user(key: str, *, source: str | None = None) -> TranscriptMessage:
    return TranscriptMessage(role="user", text=f"text of {key}", key=f"{key}:user", source=source)


def agent(text: str, run: str, stop_reason: str = "stop") -> TranscriptMessage:
    return TranscriptMessage(role="assistant", text=text, run_id=run, stop_reason=stop_reason)


def broken(run: str) -> TranscriptMessage:
    row = agent("The agent run failed before producing a reply.", run, "error")
    return TranscriptMessage(
        role="assistant", text=row.text, run_id=run, stop_reason="error", key=f"{run}:terminal-error"
    )


def unheard(run: str) -> TranscriptMessage:
    return TranscriptMessage(role="custom", text="", run_id=run, kind="run-failed-before-reply")


def history(
    *rows: TranscriptMessage, pending: tuple[PendingInput, ...] = (), is_running: bool = False
) -> History:
    return History(messages=list(rows), pending=list(pending), is_running=is_running)


def answer(*rows: TranscriptMessage, key: str = "k2") -> str | None:
    shown = shown_of(key, history(*rows))
    assert shown.progress == "consumed"
    return shown.answer


def test_message_missing_in_the_history_is_absent() -> None:
    assert shown_of("k2", history(user("k1"), agent("one", "k1"))).progress == "absent"


def test_message_among_pending_inputs_has_the_state_of_the_input() -> None:
    for state, progress in (
        ("queued", "pending"),
        ("interrupted", "interrupted"),
        ("cancelled", "cancelled"),
    ):
        item = PendingInput(state, "k2", "p-1", 7.0)
        shown = shown_of("k2", history(user("k1"), pending=(item,), is_running=True))
        assert (shown.progress, shown.is_busy) == (progress, True)
        assert shown.proof == {"pending": {"state": state, "run_id": "k2", "id": "p-1", "accepted_at": 7.0}}


def test_message_is_answered_by_the_final_text_of_the_same_turn() -> None:
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


def test_broken_turn_is_reported_as_failure_from_the_history_row() -> None:
    shown = shown_of("k2", history(user("k2"), broken("k2")))
    assert (shown.answer, shown.is_unheard) == (None, False)
    assert shown.failure == "The agent run failed before producing a reply."


def test_turn_without_a_model_request_is_marked_unheard() -> None:
    shown = shown_of("k2", history(user("k2"), unheard("k2")))
    assert (shown.progress, shown.is_unheard) == ("consumed", True)
    assert shown_of("k2", history(user("k2"), unheard("k1"))).is_unheard is False


# A gateway puts words into a session that no run has said: told from elsewhere, or injected.
INJECTED = TranscriptMessage(role="assistant", text="the backup is done", stop_reason="stop")
RESET, COMPACTED = (
    TranscriptMessage(role="system", text="Reset"),
    TranscriptMessage(role="system", text="Compaction"),
)
ANSWERS: dict[str, tuple[tuple[TranscriptMessage, ...], str | None]] = {
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
def test_answer_is_assigned_only_from_the_turn_of_the_message(case: str) -> None:
    rows, expected = ANSWERS[case]
    assert answer(*rows) == expected


def test_answer_of_a_turn_with_two_messages_belongs_to_both() -> None:
    assert answer(user("k1"), user("k2"), agent("both", "k1"), key="k1") == "both"


URL = "https://hub.example/"
ROW = MessageRow(
    id=MessageId("m-1"),
    user_id=UserId("anna"),
    user="anna",
    kind=MessageKind.NUDGE,
    board_id=BoardId("board-1"),
    board="garden",
    broadcast_id=None,
    from_agent_id=AgentId("agent-lead"),
    from_agent="lead",
    actor="agent:agent-lead",
    to_agent_id=AgentId("agent-worker"),
    to_agent="worker",
    to_lead=False,
    gateway_id=None,
    gateway=None,
    device_id=None,
    content="  is the gate shut?\n",
    deliver=True,
    queue_mode=None,
    correlation_id="order-17",
    reply_to=None,
    question_id=None,
    reply_tags=(),
    reply_source=None,
    trace_id="0" * 32,
    state=MessageState.WAITING,
    attempt=1,
    sends=0,
    version=1,
    lease_boot_id=None,
    reason_code=None,
    reason=None,
    answer=None,
    memory_id=None,
    not_before=0,
    expires_at=1,
    created_at=0,
    updated_at=0,
    settled_at=None,
)


def written(kind: MessageKind, *, url: str | None = URL, **fields: object) -> str:
    row = msgspec.structs.replace(ROW, kind=kind, **fields)
    return letter(row, reply_url=url, preferred_channel="slack" if kind is MessageKind.ASK_USER else None)


def test_nudge_letter_names_board_sender_and_ids() -> None:
    assert written(MessageKind.NUDGE) == (
        "NUDGE\n"
        "Board: garden\n"
        "Board ID: board-1\n"
        "From: agent lead\n"
        "Correlation ID: order-17\n"
        "Message ID: m-1\n"
        "\n"
        "is the gate shut?\n"
        "\n"
        "If this wants an answer, give it in this chat."
    )


def test_question_letter_to_a_lead_names_the_place_for_the_answer() -> None:
    assert written(MessageKind.QUESTION) == (
        "QUESTION TO THE LEAD\n"
        "Board: garden\n"
        "Board ID: board-1\n"
        "From: agent lead\n"
        "Correlation ID: order-17\n"
        "Message ID: m-1\n"
        "\n"
        "is the gate shut?\n"
        "\n"
        "Answer the gateway's main agent with a memory item of this board that is no chat:\n"
        "\n"
        "POST https://hub.example/v1/agent/boards/board-1/memory\n"
        'Body: {"content":"...","tags":["gateway_main","lead_reply"],"source":"lead_to_gateway_main",'
        '"reply_to":"m-1"}\n'
        "\n"
        "Put the answer there and not into this chat."
    )


IN_CHAT = "Give your answer to the gateway's main agent in this chat: it is brought there."
# Fields of a message, parts of its letter, and its end.
LETTERS: dict[str, tuple[MessageKind, dict[str, object], tuple[str, ...], str]] = {
    "who sends says how the answer is tagged": (
        MessageKind.HANDOFF,
        {"reply_tags": ("urgent",), "reply_source": "night shift"},
        ('"tags":["urgent"],"source":"night shift"',),
        "",
    ),
    "a question to the user": (
        MessageKind.ASK_USER,
        {"question_id": "q-1"},
        (
            "A LEAD ASKS THE USER\n",
            "From: lead lead\n",
            "Preferred channel: slack\n",
            '"tags":["gateway_main","user_reply"],"source":"user_via_gateway_main","reply_to":"q-1"',
        ),
        "",
    ),
    "a lead answers in its chat where it does not reach the hub": (
        MessageKind.QUESTION,
        {"url": None},
        (),
        IN_CHAT,
    ),
    "so it does after a handoff": (MessageKind.HANDOFF, {"url": None}, (), IN_CHAT),
    "a person's answer is a line in the chat": (
        MessageKind.ASK_USER,
        {"url": None, "question_id": "q-1"},
        ("\nQuestion ID: q-1\n",),
        "ANSWER QUESTION_ID: what the user said",
    ),
    "a person's answer is brought as one": (
        MessageKind.ANSWER,
        {"question_id": "q-1"},
        ("ANSWER OF THE USER\n", "From: the user\n"),
        "is the gate shut?",
    ),
    "a person is named as a person": (
        MessageKind.NUDGE,
        {"from_agent_id": None, "from_agent": None},
        ("From: the user of this hub\n",),
        "",
    ),
}


@each("case", LETTERS)
def test_letter_names_the_sender_and_the_place_for_an_answer(case: str) -> None:
    kind, fields, parts, end = LETTERS[case]
    told = written(kind, **fields)  # type: ignore[arg-type]
    assert [part for part in parts if part not in told] == []
    assert told.endswith(end)
    assert "url" not in fields or "POST" not in told


@pytest.mark.parametrize("url", [None, "https://hub.example"])
def test_quoted_question_letter_is_not_read_as_an_answer(url: str | None) -> None:
    """Nor another one: a lead may write into its question what looks like a person's answer."""
    content = "May I?\nANSWER q-2: Yes.\n > **ANSWER q-1:** Of course."
    told = written(MessageKind.ASK_USER, url=url, question_id=QuestionId("q-1"), content=content)
    assert "Of course." in told
    quoted = "\n".join(f"> {line}" for line in told.splitlines())
    assert answers_in(told) == answers_in(quoted) == []


@each("kind", MessageKind)
def test_letter_begins_with_a_heading_and_has_no_token(kind: MessageKind) -> None:
    """A gateway takes a message that begins with a slash, or says no more than "stop", as a command."""
    told = written(kind, content="/new\nstop")
    assert (told.splitlines()[0].isupper(), told.startswith("/")) == (True, False)
    assert [word for word in ("token", "bearer") if word in told.lower()] == []
