"""Failures of a command, with their exit codes."""


class CommandError(Exception):
    """Ends the command with exit code 1; its message is for the user."""

    exit_code = 1


class InputError(CommandError):
    """Input that cannot be used: exit code 2. The message names the expected form and the input."""

    exit_code = 2
