"""Checks behind ``hub doctor``: each examines the facts that it gets, and returns its findings."""
