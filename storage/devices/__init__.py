"""Devices and users, their credentials and connections; the hub's own nodes and leases.

``devices`` has the rows of both; ``device_keys``, ``tokens`` and ``pairings`` are the ways in, ``sessions``
the connections, ``nodes`` the processes on one database with their leases.
"""
