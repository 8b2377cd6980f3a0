"""The base of every program of the hub: clock, log, metrics, loops, files, outbound calls."""
