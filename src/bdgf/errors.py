"""The errors a user can meet.

Every message is one sentence that says what was found, the rule, and the way out. The command line
prints it without a traceback and exits with status 2.
"""

from __future__ import annotations


class BdgfError(Exception):
    """Base of all errors that are the input's fault, not the program's."""

    exit_status = 2


class SceneError(BdgfError):
    """A scene file, raster or label that cannot be used as it is."""


class SettingsError(BdgfError):
    """A setting with a value that cannot work."""


class RunFolderError(BdgfError):
    """A run folder that cannot be read or written, or that does not fit the scene."""


class TrainingError(BdgfError):
    """Training that cannot go on, for example because the loss is not finite."""
