"""Families of cases in one test: each process of a run would collect hundreds of parametrised items."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

Test = Callable[..., Any]
Cases = Iterable[Any] | Callable[[], Iterable[Any]]


def each(
    names: str | Sequence[str], cases: Cases, ids: Iterable[str] | None = None
) -> Callable[[Test], Test]:
    """Run a test once for every case, all within one item; each failing case is reported as a subtest.

    Use it in place of ``pytest.mark.parametrize`` where no case has a mark or leaves something behind in a
    fixture: the fixtures of the test are set up once for all cases.

    Args:
        names: the parameters that a case has values for; a case of a single name is the value itself.
        cases: tuples of values, single values or ``pytest.param`` with an id; or a function of them.
            A case has no marks of its own, and none skips: that would be the end of the others.
        ids: names of the cases in a report, where their values do not say what they are about.
    """
    wanted = [names] if isinstance(names, str) else list(names)

    def decorate(test: Test) -> Test:
        own = inspect.signature(test).parameters
        given = [parameter for name, parameter in own.items() if name not in wanted]
        if "subtests" not in own:
            given.append(inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY))

        def rest(fixtures: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in fixtures.items() if name in own}

        def run(**fixtures: Any) -> None:
            for name, values in _read(wanted, cases, ids):
                with _reported(fixtures["subtests"], name):
                    test(**rest(fixtures), **values)

        async def run_async(**fixtures: Any) -> None:
            for name, values in _read(wanted, cases, ids):
                with _reported(fixtures["subtests"], name):
                    await test(**rest(fixtures), **values)

        family = wraps(test)(run_async if inspect.iscoroutinefunction(test) else run)
        family.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
        return family

    return decorate


def _read(
    names: Sequence[str], cases: Cases, ids: Iterable[str] | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of each case, and its values by parameter. Raises ValueError for a mark or no case at all."""
    has_none = True
    listed = cases if isinstance(cases, Iterable) else cases()
    for case, name in zip(listed, ids, strict=True) if ids else ((case, "") for case in listed):
        has_none = False
        id = name or (case.id if isinstance(case, _PARAM) else None)
        values = case.values if isinstance(case, _PARAM) else (case,) if len(names) == 1 else case
        if isinstance(case, _PARAM) and case.marks:
            raise ValueError(f"case {id or values} has a mark, which a family does not read")
        yield str(id or values), dict(zip(names, values, strict=True))
    if has_none:
        raise ValueError(f"no case for {', '.join(names)}")


_PARAM = type(pytest.param())


@contextmanager
def _reported(subtests: pytest.Subtests, name: str) -> Iterator[None]:
    """Report what the block raises as a subtest. One that passes costs nothing."""
    try:
        yield
    except pytest.skip.Exception as skipped:
        pytest.fail(f"case {name} skips the cases after it: {skipped}")
    except (Exception, pytest.fail.Exception):
        with subtests.test(name[:200]):
            raise
