"""Devices and users, their credentials; the hub's own nodes and the settings that they share.

``devices`` has the rows of both; ``tokens`` (with public keys) and ``pairings`` are the ways in, ``attempts``
counts those that failed. ``nodes`` has the processes on one database.
"""
