"""Fixtures of these tests: a store, an agent in it, and a bench that runs it."""

from tests.support.runs import agent, bench, store

__all__ = ["agent", "bench", "store"]
