"""A stateful fake of Microsoft Graph."""
