"""Runs: their creation, execution, delivery to devices, and control."""
