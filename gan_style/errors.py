"""What a user can get wrong: commands print these as one line and exit with their code."""


def printable(text: object) -> str:
    """Text as one line for a terminal; what isn't printable, as Python would write it.

    Names of files can hold line breaks, escape sequences, and bytes that are no characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


class UserError(Exception):
    """A mistake in a command, file or folder; the message names the value met and the remedy."""

    code = 2


class ConfigError(UserError):
    """An option that doesn't exist, has the wrong type, or contradicts another."""


class DataError(UserError):
    """Images or folders that can't be used."""


class CheckpointError(UserError):
    """A run folder, a checkpoint or an exported network that can't be used."""


class WriteError(UserError):
    """A file that can't be written, such as on a full disk."""


class TrainingError(UserError):
    """A training that can't go on, such as a loss that is no number any more."""

    code = 1


class Interrupted(UserError):
    """A training that was asked to stop, and has saved its state."""

    code = 130
