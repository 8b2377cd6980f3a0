"""Rows of tables in texts: how sinks write them, and how readers at both ends find them."""
