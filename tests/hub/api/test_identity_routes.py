"""Who may come in, over the REST interface."""

from typing import Final

import httpx2

from tests.support.identity import CODE


async def test_names_invalid_on_a_command_line_are_refused(client: httpx2.AsyncClient) -> None:
    for name in ("", "two words", "-x", "a" * 65, "a\nb", "a\n", "../x"):
        answers = (
            await client.patch("/v1/devices/desk", json={"name": name}),
            await client.post("/v1/tokens", json={"device": name}),
            await client.post("/v1/users", json={"name": name}),
            await client.post("/v1/invitations", json={"device": name}),
            await client.post("/v1/pairings/approve", json={"code": CODE, "name": name}),
        )
        assert [(one.status_code, one.json()["code"]) for one in answers] == [(422, "bad_params")] * 5, name


SECRETS: Final[dict[str, dict[str, str]]] = {
    "/v1/tokens": {"device": "lab"},
    "/v1/operator-tokens": {"name": "script", "role": "viewer"},
    "/v1/invitations": {},
    "/v1/agents/notes/tokens": {},
}


async def test_created_secret_is_returned_once_with_no_store(client: httpx2.AsyncClient) -> None:
    for path, body in SECRETS.items():
        made = await client.post(path, json=body)
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store"), path
        secret, listed = made.json()["token"], (await client.get(path)).text
        assert (secret in listed, secret[-4:] in listed) == (False, True), path


NO_TOKENS: Final[tuple[dict[str, object], ...]] = (
    {"name": "script"},
    {"name": "script", "role": "root"},
    {"name": "script", "role": "viewer", "scopes": ["everything"]},
    {"name": "", "role": "viewer"},
    {"name": "x\u0000y", "role": "viewer"},
    {"name": "script", "role": "viewer", "ttl_s": 0},
    {"name": "script", "role": "viewer", "ttl_s": 1e9},
)


async def test_operator_token_without_a_valid_name_or_role_is_refused(client: httpx2.AsyncClient) -> None:
    answers = [await client.post("/v1/operator-tokens", json=body) for body in NO_TOKENS]
    assert [one.status_code for one in answers] == [422] * len(NO_TOKENS)


async def test_tokens_and_invitations_created_for_a_user_belong_to_the_user(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.post("/v1/users", json={"name": "anna"})).status_code == 201
    taken = await client.post("/v1/users", json={"name": "anna"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    annas = {"user": "anna"}
    made = [
        await client.post("/v1/tokens", params=annas, json={"device": "desk"}),
        await client.post("/v1/invitations", params=annas, json={}),
        await client.post("/v1/operator-tokens", params=annas, json={"name": "hers", "role": "viewer"}),
    ]
    assert [one.json()["user"] for one in made] == ["anna"] * 3

    ambiguous = await client.get("/v1/devices/desk")
    assert (ambiguous.status_code, ambiguous.json()["code"]) == (422, "bad_params")
    assert "say whose: ?user=NAME" in ambiguous.json()["detail"]
    assert (await client.get("/v1/devices/desk", params=annas)).json()["user"] == "anna"


async def test_user_is_removed_only_without_devices_and_never_the_owner(client: httpx2.AsyncClient) -> None:
    await client.post("/v1/users", json={"name": "anna"})
    await client.post("/v1/tokens", params={"user": "anna"}, json={"device": "lab"})
    owning = await client.delete("/v1/users/anna")
    assert (owning.status_code, "devices (1)" in owning.json()["detail"]) == (409, True)
    await client.post("/v1/devices/lab/revoke", params={"user": "anna"})
    assert (await client.delete("/v1/users/anna")).json()["name"] == "anna"
    assert (await client.delete("/v1/users/anna")).status_code == 404
    assert (await client.delete("/v1/users/owner")).status_code == 409


UNKNOWN = (
    ("GET", "/v1/devices/nothing", "unknown_device"),
    ("POST", "/v1/devices/nothing/revoke", "unknown_device"),
    ("POST", "/v1/devices/nothing/kick", "unknown_device"),
    ("POST", "/v1/pairings/nothing/deny", "unknown_pairing"),
    ("DELETE", "/v1/invitations/nothing", "unknown_invitation"),
    ("DELETE", "/v1/tokens/nothing", "unknown_token"),
    ("DELETE", "/v1/operator-tokens/nothing", "unknown_token"),
    ("GET", "/v1/devices?user=nobody", "unknown_user"),
    ("GET", "/v1/broadcasts/nothing", "unknown_broadcast"),
    ("POST", "/v1/broadcasts/nothing/resume?wait_s=0", "unknown_broadcast"),
)


async def test_unknown_identity_rows_are_answered_404_with_a_specific_code(
    client: httpx2.AsyncClient,
) -> None:
    for method, path, code in UNKNOWN:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, code), path
