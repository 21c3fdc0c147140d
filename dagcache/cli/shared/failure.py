"""How a command fails."""


class CommandError(Exception):
    """Ends the command with exit code 1; the message is for whoever typed it."""

    exit_code = 1


class InputError(CommandError):
    """What was given cannot be used: exit code 2; the message says what was expected and what was found."""

    exit_code = 2
