"""Explanations of files beside runs that read them."""

import anyio

from hub.extraction.model import ModelAnswer, ModelRequest
from hub.runs.explaining import Explainer
from storage.agents.agents import AgentRow
from storage.store import Store
from tests.support.runs import Bench, KeywordModel, folder

FILES = {"a": "A riddle to read."}


class ThinkingModel(KeywordModel):
    """Thinks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.thinks = anyio.Event()
        self.released = anyio.Event()

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        self.thinks.set()
        await self.released.wait()
        return await super().answer(request)


async def test_file_is_explained_while_the_model_of_a_run_thinks(store: Store, agent: AgentRow) -> None:
    model = ThinkingModel()
    bench = Bench(store, agent, model=model)
    bench.connect(runs=folder(**FILES))
    async with anyio.create_task_group() as running:
        running.start_soon(bench.run)
        await model.thinks.wait()
        explainer, link = Explainer(bench.previews), bench.connect(runs=folder(**FILES))
        reasons = await explainer.explain(agent, "a.md", None, link, within_s=5.0)
        model.released.set()
    assert [(reason.code, reason.lines) for reason in reasons] == [("under_way", ""), ("not_asked", "1")]
