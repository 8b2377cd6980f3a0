"""hub.toml: its tables, how it is read, checked, edited and reloaded."""
