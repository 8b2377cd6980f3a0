"""Devices and users, their credentials and connections; the hub's own nodes and leases.

``devices`` has the rows of both; ``tokens`` (with public keys) and ``pairings`` are the ways in, ``attempts``
counts those that failed. ``sessions`` has the connections, ``nodes`` the processes on one
database with their leases.
"""
