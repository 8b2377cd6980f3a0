"""Everything the two ends of the wire must agree on. No I/O, no clock, no chance."""
