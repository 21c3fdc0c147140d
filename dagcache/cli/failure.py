"""How a command fails."""


class CommandError(Exception):
    """Ends the command with exit code 1; the message is for whoever typed it."""
