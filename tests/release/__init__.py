"""Cutting a release, and checking what people get of it."""
