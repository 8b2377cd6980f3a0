"""Our connectors against servers of others, clients of others at our hub: ``make connector-check``."""
