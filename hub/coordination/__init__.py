"""Agents that reach each other and their people: boards, memory, messages, questions, souls."""
