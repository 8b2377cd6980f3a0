"""Runs in LangExtract's own environment: documents in on standard input, titles out.

Imports nothing of ours.
"""

import json
import logging
import sys
import warnings
from typing import Any

import langextract as lx

ASKED = "Find the tasks: who has to do what, and by when. Use exact text for extractions."
SAID = "Bob must water the plants by 2025-05-04 (ref A-0001)."


def main(base_url: str, chunk_chars: int) -> None:
    """Its defaults for everything but the size of a chunk."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    attributes = {"title": "water the plants", "assignee": "Bob", "dueDate": "2025-05-04"}
    task = lx.data.Extraction(extraction_class="task", extraction_text=SAID, attributes=attributes)
    examples = [lx.data.ExampleData(text=f"It rained. {SAID} We went home.", extractions=[task])]
    config = lx.factory.ModelConfig(
        model_id="oracle",
        provider="OpenAILanguageModel",
        provider_kwargs={"api_key": "key", "base_url": base_url},
    )
    answers: list[dict[str, Any]] = []
    for text in json.load(sys.stdin):
        try:
            found = lx.extract(
                text,
                prompt_description=ASKED,
                examples=examples,
                config=config,
                max_char_buffer=chunk_chars,
                show_progress=False,
            )
        except Exception as error:  # the document is lost, as it is to whoever calls it
            answers.append({"error": f"{type(error).__name__}: {error}"[:200]})
            continue
        told = [(one.attributes or {}).get("title") for one in found.extractions or []]
        answers.append({"titles": [str(title) for title in told]})
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
