"""Extraction of items from text: by rules where the form is unambiguous, else by a model."""
