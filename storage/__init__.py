"""Rows: how they are kept, claimed and moved. The rest of the house enters by ``storage.store``."""
