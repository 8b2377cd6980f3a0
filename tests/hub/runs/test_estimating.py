"""What a run would cost, told before it is started."""

import pytest

from hub.base.toml.limits import NANOS, BudgetSettings
from hub.extraction.model import Price
from hub.runs.sources import NotTakenOn
from protocol.errors import CallUnsupported, DeviceOffline
from protocol.frame import ErrorBody
from protocol.work import AgentAck, AgentComplete, AgentManifest, ManifestFile, RunLimits, Usage
from storage.runs import runs
from tests.support.runs import Bench, digest, folder

PRICE = Price(prompt_nanos=250, completion_nanos=2_000)


def listing(*sizes: int) -> list[AgentManifest | AgentComplete]:
    """A device that lists files of these sizes, a.md, b.md, ..."""
    files = [
        ManifestFile(path=f"{name}.md", size_bytes=size, sha256=digest(name))
        for name, size in zip("abcdefghij", sizes, strict=False)
    ]
    return [AgentManifest(run_id="r", files=files), AgentComplete(run_id="r")]


async def test_an_estimate_lists_the_files_and_reads_none(bench: Bench) -> None:
    bench.model.price = PRICE
    link = bench.connect(runs=[listing(10_000, 500)])

    found = await bench.estimator.estimate(bench.agent, link)

    assert (found.files, found.known, found.to_read, found.bytes_to_read) == (2, 0, 2, 10_500)
    assert 3 <= found.questions.low <= found.questions.high
    assert 10_500 / 4 < found.tokens.low < found.tokens.high
    assert found.cost_nanos is not None and 0 < found.cost_nanos.low < found.cost_nanos.high
    assert not found.is_reckoned_from_runs
    assert (link.streams[0].fetched, bench.model.asked) == ([((), True)], 0)
    assert await bench.store.read(runs.list_runs) == []


async def test_estimate_of_files_known_to_the_ledger_has_no_questions_and_tokens(bench: Bench) -> None:
    bench.connect(runs=folder(a="Some prose.", b="More prose."))
    await bench.run()
    link = bench.connect(runs=[listing(11, 11)])

    found = await bench.estimator.estimate(bench.agent, link)

    assert (found.files, found.known, found.to_read) == (2, 2, 0)
    assert (found.questions.high, found.tokens.high) == (0, 0)


async def test_estimate_counts_at_most_the_file_limit_of_a_run(bench: Bench) -> None:
    bench.estimator.limits = RunLimits(files=2)
    link = bench.connect(runs=[listing(100, 100, 100, 100)])
    found = await bench.estimator.estimate(bench.agent, link)
    assert (found.files, found.known, found.to_read, found.bytes_to_read) == (4, 0, 2, 200)
    assert found.tokens.high > 0 and found.cost_nanos is None, "without a price"


async def test_estimate_of_an_agent_with_past_runs_uses_the_measured_costs(bench: Bench) -> None:
    bench.model.usage = Usage(1, 100, 20, 5_000)
    bench.connect(runs=folder(**{name: f"Some prose of {name}." for name in "abcdef"}))
    assert (await bench.run()).usage.requests == 6
    link = bench.connect(runs=[listing(*([1] * 6), *([len("Some prose of g.")] * 4))])

    found = await bench.estimator.estimate(bench.agent, link)

    assert found.is_reckoned_from_runs and found.known == 6
    assert found.questions.low < 4 < found.questions.high
    assert found.tokens.low < 4 * 120 < found.tokens.high
    assert found.cost_nanos is not None
    assert found.cost_nanos.low < 4 * 5_000 < found.cost_nanos.high


async def test_a_long_file_is_not_reckoned_as_many_short_ones(bench: Bench) -> None:
    bench.model.usage = Usage(1, 100, 20, 5_000)
    bench.connect(runs=folder(**{name: f"Some prose of {name}." for name in "abcdef"}))
    await bench.run()
    piece = round(bench.model.chunk_tokens * 3.5)
    link = bench.connect(runs=[listing(*([1] * 6), 10 * piece)])

    found = await bench.estimator.estimate(bench.agent, link)

    assert found.questions.low < 10 < found.questions.high < 20


@pytest.mark.parametrize("are_read", [0, 6], ids=["from sizes", "from files"])
async def test_estimate_of_a_pdf_has_a_wide_range_of_questions(bench: Bench, are_read: int) -> None:
    names = "abcdef"[:are_read]
    if names:
        bench.connect(runs=folder(**{name: f"Some prose of {name}." for name in names}))
        await bench.run()
    piece = round(bench.model.chunk_tokens * 3.5)
    listed = [ManifestFile(path="scan.pdf", size_bytes=100 * piece, sha256=digest("pdf"))]
    done = AgentComplete(run_id="r")
    link = bench.connect(runs=[[AgentManifest(run_id="r", files=listed), done]])

    found = await bench.estimator.estimate(bench.agent, link)

    assert (found.to_read, found.is_reckoned_from_runs) == (1, bool(names))
    assert found.questions.low <= 2 and 50 <= found.questions.high <= 100


async def test_reachable_budgets_of_a_run_are_named(bench: Bench) -> None:
    bench.model.price = Price(NANOS, NANOS)
    bench.budgets.limits = BudgetSettings(run_usd=1.0, day_tokens=5)
    found = await bench.estimator.estimate(bench.agent, bench.connect(runs=[listing(10_000)]))
    assert found.over == ("budget.run_usd", "budget.day_tokens")


@pytest.mark.parametrize(
    "refusal",
    [
        AgentAck(run_id="r", accepted=False, reason="busy"),
        AgentComplete(run_id="r", error=ErrorBody(code="nothing_shared", message="nothing is shared")),
    ],
)
async def test_estimate_for_a_device_refusing_to_list_raises_the_reason(
    bench: Bench, refusal: AgentAck | AgentComplete
) -> None:
    link = bench.connect(runs=[[refusal]])
    with pytest.raises(NotTakenOn, match=r"busy|nothing is shared"):
        await bench.estimator.estimate(bench.agent, link)


async def test_estimate_for_an_offline_or_unable_device_is_refused_without_a_stream(bench: Bench) -> None:
    with pytest.raises(DeviceOffline):
        await bench.estimator.estimate(bench.agent, None)
    link = bench.connect(capabilities=(), runs=[listing(1)])
    with pytest.raises(CallUnsupported):
        await bench.estimator.estimate(bench.agent, link)
    assert link.streams == []
