"""Resources of the operators' interface: a module for the resources of one topic, found by ``application``."""
