"""Devices, users and their credentials; the hub's own identity and leases."""
