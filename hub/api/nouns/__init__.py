"""Nouns of the operators' interface: a module for the nouns of one topic, found by ``application``."""
