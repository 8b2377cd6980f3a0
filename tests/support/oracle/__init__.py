"""The oracle: a chat-completions server that really reads what it is sent, and plays a provider's faults.

It answers with exactly the planted sentences that it finds in the text shown to it, so
that what a test sees is the pipeline and never a model's mood::

    Anna must send the quote by 2026-12-01 (ref K-0007).

What may go wrong is told beforehand: one fault after the other (``play``), or each with
its own odds, and then the fate of a question is fixed by (seed, question, attempt). It
counts all that it sees. In a test it lives in a task group; a scenario runs it with
``oracle_process`` and asks for ``/stats``.
"""

from tests.support.oracle.planted import order, plant
from tests.support.oracle.process import oracle_process
from tests.support.oracle.server import Oracle
from tests.support.oracle.stats import Stats
from tests.support.oracle.traits import MODEL_NAME, Fault, Traits

__all__ = ["MODEL_NAME", "Fault", "Oracle", "Stats", "Traits", "oracle_process", "order", "plant"]
