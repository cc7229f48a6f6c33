"""What a command can't do, said in one line."""


class CommandFailed(Exception):
    """Ends the command: the message goes to stderr by itself, and the exit status is 1."""
