"""Settings file hub.toml: its tables, and how it is read, checked, edited and reloaded."""
