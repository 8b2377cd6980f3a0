"""Resources of the operators' interface: a module for each topic, found by ``application``."""
