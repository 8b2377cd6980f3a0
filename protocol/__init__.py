"""Definitions shared by both ends of the wire. No I/O, no clock, no randomness."""
