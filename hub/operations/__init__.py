"""The hub as its operators ask it, noun by noun: rows turned into responses."""
