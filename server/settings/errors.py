"""Reasons not to start: each text is one line for the operator."""


class StartRefused(Exception):
    """The server can't start, and the operator can change that. The text is one line that says how."""


class BadSetting(StartRefused):
    """A variable is unknown or has a bad value."""
