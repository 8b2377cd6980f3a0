"""Our connectors against servers of others, which npm installs: ``make connector-check``."""
