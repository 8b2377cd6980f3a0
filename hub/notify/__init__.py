"""Notification of addresses outside the hub: messages by ``sending``, and the service ``notifier``."""
