"""The operators' REST interface: one router a noun."""
