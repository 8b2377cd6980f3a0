"""Fixtures of the reference device, with which the device in TypeScript is compared."""

from tests.hub.device.conftest import clock, db, ids, store

__all__ = ["clock", "db", "ids", "store"]
