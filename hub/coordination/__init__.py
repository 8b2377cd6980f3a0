"""Communication between agents and with people: boards, memory, messages, questions, souls."""
