"""Credentials of connectors: sealed, refreshed once for all, asked for anew when they are refused."""
