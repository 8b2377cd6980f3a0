"""The device hub: a daemon, its operators' surface, and the reference device."""
