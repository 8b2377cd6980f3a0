"""Tests of ``hub.notify``."""
