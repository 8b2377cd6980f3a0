"""What operators and agents are told of souls. As in ``api.views.view``: a field is added, never renamed."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from hub.api.views.view import View

# In the example: of the text "test".
Hash = Annotated[
    str,
    StringConstraints(pattern="^([0-9a-f]{64})?$"),
    Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]),
]
StateWord = Literal["waiting", "done", "conflict", "failed"]
KindWord = Literal["written", "seen", "refused"]


class SoulWriteView(View):
    """A write of a soul, as far as it has come.

    *waiting*: it is written down here and goes on by itself; *reason_code* and *problem* say why it waits.
    *done*: the other side has it. *conflict*: somebody else had changed it; *found_sha256* is what is
    there. *failed*: it came to nothing, and *problem* says why. What came to nothing is in the history.
    """

    id: str
    state: StateWord
    sha256: str
    expected_sha256: str | None  # of what it replaces; "": there was none
    found_sha256: str | None = None
    sends: int
    reason_code: str | None = None
    problem: str | None = None
    reason: str | None = None
    source_url: str | None = None
    actor: str
    correlation_id: str | None = None
    trace_id: str
    created_at: AwareDatetime
    settled_at: AwareDatetime | None = None


class SoulView(View):
    """The soul of an agent as it is now where the agent lives.

    *sha256*: of its text, and the ``ETag``; None: there is none. *open_write*: what is being written now.
    """

    agent: str
    gateway: str | None  # where it lives: on a gateway,
    device: str | None  # or on a device
    content: str
    sha256: str | None
    size_bytes: int
    updated_at: AwareDatetime | None
    open_write: SoulWriteView | None


class SoulVersionView(View):
    """A version of a soul, without its text.

    *written*: by a write of this hub. *seen*: somebody else had written it, and the hub found it; *actor*
    says where. *refused*: a write that came to nothing, kept so that its text is not lost.
    """

    seq: int
    kind: KindWord
    sha256: str
    size_bytes: int
    write_id: str | None
    actor: str
    reason: str | None
    source_url: str | None
    at: AwareDatetime


class SoulTextView(SoulVersionView):
    """A version of a soul with its text."""

    content: str


class WantedSoul(View):
    """What a soul is to be.

    *expected_sha256*, or ``If-Match``: of what it is to replace; "": there must be none yet. Without it,
    it replaces what the hub finds, which even so may not change between its look and its write.
    """

    content: str
    expected_sha256: Hash | None = None
    reason: Annotated[str, Field(max_length=1_000)] | None = None
    source_url: Annotated[str, Field(max_length=2_000)] | None = None
    correlation_id: Annotated[str, Field(max_length=128)] | None = None
