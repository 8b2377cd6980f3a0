"""The WebSocket of the device port before the Autobahn test suite: ``make autobahn``."""
