"""From an agent's order to settled items."""
