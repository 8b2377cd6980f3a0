"""The comparison of two halves of a long time of work; the work itself is a proof."""

from tests.scenarios.steady import Sample, compared, is_flat
from tests.support.families import each


def samples(**step: float) -> list[Sample]:
    """Return eight samples, each with so much more of some figures than the one before."""
    flat = Sample(hub_mib=200, device_mib=100, descriptors=50, runs=1_000, rows=90_000)
    each = {"runs": 10, "rows": 700} | step
    return [
        flat._replace(**{name: getattr(flat, name) + nth * each[name] for name in each}) for nth in range(8)
    ]


def not_flat(found: list[Sample]) -> list[str]:
    return [name for name, halves in compared(found).items() if not is_flat(name, *halves)]


@each(
    ("figure", "step", "named"),
    [
        ("hub_mib", 1, []),
        ("hub_mib", 8, ["hub MiB"]),
        ("device_mib", 4, ["device MiB"]),
        ("descriptors", 1, []),
        ("descriptors", 3, ["descriptors"]),
    ],
)
def test_growth_of_a_figure_beyond_a_twentieth_is_named(figure: str, step: float, named: list[str]) -> None:
    assert not_flat(samples(**{figure: step})) == named


def test_growing_number_of_rows_a_run_is_named() -> None:
    more = [one._replace(rows=one.rows + 70 * nth**2) for nth, one in enumerate(samples())]
    assert not_flat(more) == ["rows a run"]
