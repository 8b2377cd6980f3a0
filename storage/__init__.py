"""Rows: how they are kept, claimed and changed. ``storage.store`` opens the database."""
