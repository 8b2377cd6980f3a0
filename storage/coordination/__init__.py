"""Gateways, boards, messages, broadcasts, questions and souls."""
