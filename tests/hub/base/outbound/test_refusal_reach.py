"""Scopes of refusals: each status, precondition, failure and provider has one."""

import pytest

from hub.base.outbound.refusal_reach import (
    PRECONDITIONS,
    SCOPE_MEANINGS,
    SCOPES,
    RefusalScope,
    precondition_in,
    scope_of_status,
)
from hub.connectors.calling import ConnectorFailure
from hub.connectors.catalogue import BUILT_IN
from tests.support.scopes_page import WITHOUT_SERVER, at_providers, at_sinks

# IANA's registry of statuses of refusals, without those that are unused or obsolete.
REGISTERED = (*range(400, 418), *range(421, 427), 428, 429, 431, 451, *range(500, 509), 510, 511)


def test_each_registered_status_of_a_refusal_has_a_scope() -> None:
    assert set(REGISTERED) - SCOPES.keys() == set()
    assert {*SCOPES.values(), *PRECONDITIONS.values()} <= SCOPE_MEANINGS.keys() == {*RefusalScope}


def test_table_of_scopes_has_each_provider_and_no_empty_cell() -> None:
    cells = [*at_sinks().values(), *at_providers().values()]
    assert {len(row) for row in at_providers().values()} == {len(BUILT_IN) - len(WITHOUT_SERVER)}
    assert WITHOUT_SERVER.keys() <= BUILT_IN.keys()
    assert [row for row in cells if not all(row)] == []
    assert [row for row in (*at_sinks(), *map(int, at_providers())) if row not in SCOPES] == []


def test_each_failure_of_a_connector_has_a_scope() -> None:
    kinds, found = [ConnectorFailure], list[type[ConnectorFailure]]()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.append(kind)
    assert [kind for kind in found if not isinstance(kind.scope, RefusalScope)] == []


@pytest.mark.parametrize(
    ("status", "scope"),
    [(418, RefusalScope.ROW), (499, RefusalScope.ROW), (599, RefusalScope.PLACE), (302, RefusalScope.MOMENT)],
)
def test_unregistered_status_has_the_scope_of_the_class(status: int, scope: RefusalScope) -> None:
    assert scope_of_status(status) is scope


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'<D:error xmlns:D="DAV:" xmlns:C="x"><C:max-resource-size/></D:error>', "max-resource-size"),
        (b'<error xmlns="DAV:"><need-privileges><resource/></need-privileges></error>', "need-privileges"),
        (b"<error><no-uid-conflict><href>/a</href></no-uid-conflict></error>", "no-uid-conflict"),
        (b"<error><max-resource-sizes/></error>", ""),
        (b"<p>max-resource-size</p>", ""),
        (b"\xff<", ""),
    ],
)
def test_precondition_is_found_in_an_error_of_webdav(body: bytes, name: str) -> None:
    assert precondition_in(body) == name
