"""Kit for connectors by others: SDKs, and the files that ``hub connectors new`` writes."""
