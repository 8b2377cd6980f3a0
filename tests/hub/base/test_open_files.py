"""Limit of open files: raised for what was requested, never lowered."""

import resource

import pytest

from hub.base.open_files import raise_limit


@pytest.mark.parametrize(
    ("soft", "hard", "requested", "expected"),
    [
        (1_000, 4_000, 2_000, 2_000),
        (1_000, 4_000, 9_000, 4_000),
        (1_000, 4_000, 500, 1_000),
        (1_000, resource.RLIM_INFINITY, 9_000, 9_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 500, resource.RLIM_INFINITY),
    ],
)
def test_limit_of_open_files_is_raised_as_far_as_allowed_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, requested: int, expected: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, changed: limits.append(changed))
    assert raise_limit(requested) == expected
    assert limits[-1] == (expected, hard)
