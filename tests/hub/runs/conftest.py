"""Runs over a store in memory and a device that is a list."""

from tests.support.runs import agent, bench, store

__all__ = ["agent", "bench", "store"]
