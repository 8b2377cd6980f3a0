"""Runs and their work: claims, moves, units, items and their delivery, questions to models."""
