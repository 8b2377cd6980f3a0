"""Extraction of items from text: by rules where the form is unambiguous, else by a model.

Not exported here, because they are heavy or start processes: ``endpoint.Endpoint``, ``endpoint.Chain``,
``batch.BatchClient`` and ``embedded.EmbeddedModel``.
"""

from hub.extraction.extractor import Extractor
from hub.extraction.items import Dropped, Extraction, ExtractionOptions, Item
from hub.extraction.model import (
    AnswerCutOff,
    ExtractionError,
    LanguageModel,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelUnavailable,
    Usage,
)

__all__ = [
    "AnswerCutOff",
    "Dropped",
    "Extraction",
    "ExtractionError",
    "ExtractionOptions",
    "Extractor",
    "Item",
    "LanguageModel",
    "ModelError",
    "ModelExhausted",
    "ModelRefused",
    "ModelUnavailable",
    "Usage",
]
