"""Notification of addresses outside the hub: ``messages``, ``sending`` and the service ``notifier``."""
