"""Conversion of words about time to moments: ISO 8601, and informal dates in six languages."""
