"""Random input before every reader of foreign text: ``make fuzz``."""
