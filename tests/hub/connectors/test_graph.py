"""What Microsoft Graph's errors and times mean, and which of its addresses are taken."""

import json

import pytest
from pydantic import ValidationError

from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    HttpReply,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
)
from hub.connectors.graph import GraphSettings, judge, read_time, web_link
from hub.connectors.microsoft_sign_in import sign_in_codes, sign_in_failure
from tests.support.families import each


def answered(status: int, code: str, message: str = "", inner: str = "") -> HttpReply:
    error = {"code": code, "message": message, "innerError": {"code": inner} if inner else {}}
    return HttpReply(status, {}, json.dumps({"error": error}).encode())


@each(
    ("status", "code", "inner", "meaning"),
    [
        (401, "InvalidAuthenticationToken", "", SignInNeeded),
        (402, "PaymentRequired", "", QuotaSpent),
        (403, "ErrorAccessDenied", "", PermissionMissing),
        (403, "MailboxNotEnabledForRESTAPI", "", PermissionMissing),
        (404, "MailboxNotEnabledForRESTAPI", "", PermissionMissing),
        (404, "ErrorFolderNotFound", "", Misconfigured),
        (410, "SyncStateNotFound", "", CursorLost),
        (410, "gone", "", CursorLost),
        (400, "badRequest", "resyncRequired", CursorLost),
        (404, "itemNotFound", "SyncStateNotFound", CursorLost),
        (429, "TooManyRequests", "", ProviderBusy),
        (503, "ErrorServerBusy", "", ProviderBusy),
        (429, "ApplicationThrottled", "MailboxConcurrency", ProviderBusy),
        (509, "whatever", "", ProviderBusy),
    ],
)
def test_graph_error_is_mapped_to_a_single_failure_class(
    status: int, code: str, inner: str, meaning: type[ConnectorFailure]
) -> None:
    assert type(judge(answered(status, code, inner=inner))) is meaning


def test_graph_error_without_json_is_judged_by_the_status() -> None:
    assert isinstance(judge(HttpReply(403, {}, b"<html>")), PermissionMissing)
    assert judge(HttpReply(500, {}, b"\xff")) is None
    assert judge(HttpReply(500, {}, b'{"error": "\xff"}')) is None


@each(
    ("code", "meaning", "words"),
    [
        (700082, SignInNeeded, "not used"),
        (50173, SignInNeeded, "password was changed"),
        (50076, SignInNeeded, "second factor"),
        (50079, SignInNeeded, "second factor"),
        (65001, PermissionMissing, "consent is missing"),
        (53003, PermissionMissing, "Conditional Access"),
        (7000222, Misconfigured, "expired"),
    ],
)
def test_failed_microsoft_sign_in_is_explained_by_the_error_code(
    code: int, meaning: type[ConnectorFailure], words: str
) -> None:
    text = f"AADSTS{code}: words that change. Trace ID: 1234567"
    failure = sign_in_failure(sign_in_codes(text))
    assert type(failure) is meaning
    assert words in str(failure) and f"AADSTS{code}" in str(failure) and "Trace" not in str(failure)
    assert type(judge(answered(401, "InvalidAuthenticationToken", text))) is meaning


def test_unknown_sign_in_error_code_has_no_explanation() -> None:
    assert sign_in_failure(sign_in_codes("AADSTS12345678: ?")) is None


@each(
    "url",
    [
        "http://graph.microsoft.com/v1.0",
        "https://ana:secret@graph.microsoft.com",
        "https://graph.microsoft.com/v1.0?x=1",
        "graph.microsoft.com",
        "ftp://127.0.0.1",
    ],
)
def test_insecure_graph_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        GraphSettings(base_url=url)


def test_graph_base_url_may_be_a_local_server() -> None:
    assert GraphSettings(base_url="http://127.0.0.1:80/v1.0/").base_url == "http://127.0.0.1:80/v1.0"


@each("told", [None, 7, "", "yesterday", "2026-13-01T00:00:00Z"])
def test_invalid_graph_time_is_read_as_none(told: object) -> None:
    assert read_time(told) is None


def test_times_are_read_with_as_many_digits_as_microsoft_writes() -> None:
    read = read_time("2026-01-05T10:00:00.1234567+01:00")
    assert read is not None and read.isoformat() == "2026-01-05T09:00:00.123457+00:00"


def test_a_link_for_a_browser_is_https() -> None:
    assert web_link("https://outlook.office365.com/owa/") is not None
    assert web_link("javascript:alert(1)") is None
