"""Response models of the connector endpoints. As in ``api.views.view``: a field is added, never renamed."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

ConnectorWord = Literal["ok", "sign_in", "blocked"]


class ConnectorView(View):
    """A connector of hub.toml, and whether its runs may start.

    *state*: *ok*; *sign_in*: somebody has to sign in; *blocked*: somebody has to correct or allow something.
    *code* and *detail*: what the matter is. *failures*: passing errors in a row, after which its runs wait
    until *retry_at*. *account*: who the provider says that it is. *agents*: who reads it.
    """

    id: str
    name: str
    user: str
    provider: str
    account: str | None = None
    state: ConnectorWord
    code: str | None = None
    detail: str | None = None
    failures: int = 0
    retry_at: AwareDatetime | None = None
    last_ok_at: AwareDatetime | None = None
    agents: tuple[str, ...] = ()


class UnreadView(View):
    """A message that could not be read. *message*: a digest of its key; *state*: *failed* or *dead*."""

    agent: str
    message: str
    state: str
    attempts: int
    reason: str | None = None
    at: AwareDatetime


class ConnectorDetail(ConnectorView):
    """A connector with the messages that could not be read, newest first."""

    unread: tuple[UnreadView, ...] = ()


class SignInView(View):
    """A sign-in that was begun.

    *way*: *device*: a browser was opened there; *paste*: open *url*, then paste the address that the browser
    ends at; *code*: open *url* and type *user_code*. *outcome*: none while it is open, *done* or *failed*.
    """

    id: str
    connector: str
    way: Literal["device", "paste", "code"]
    url: str | None = None
    user_code: str | None = None
    outcome: Literal["done", "failed"] | None = None
    problem: str | None = None
    expires_at: AwareDatetime


class StepView(View):
    """One step of a self-test. *told*: numbers and kinds, and never a word of a mail."""

    step: str
    is_ok: bool
    told: str
    took_ms: int


class SelfTestView(View):
    """How a connector did, step by step; to be pasted into a report."""

    provider: str
    is_ok: bool
    steps: tuple[StepView, ...] = ()


class ForgottenView(View):
    """A grant that was given back. *is_revoked*: the provider confirmed it."""

    name: str
    is_revoked: bool
