"""Reasons not to start: each text is a single line for the operator."""


class StartRefused(Exception):
    """The server can't start, and the operator can change that. The text is a single line that says how."""


class BadSetting(StartRefused):
    """A variable is unknown or has a bad value."""
