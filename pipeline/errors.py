"""Errors a user can mend. The command line shows their one sentence and exits with code 2."""


class PipelineError(Exception):
    """Anything the user can put right; the message says what is wrong and how to mend it."""


class ManifestError(PipelineError):
    """A manifest that cannot be found, read or believed."""


class DatasetError(PipelineError):
    """A dataset whose files are missing or not laid out as declared."""


class WeightsError(PipelineError):
    """Weights that are missing, damaged, or belong to something else."""


class CheckpointError(PipelineError):
    """A file of somebody's weights that is damaged, hostile or of no known kind."""


class BuildError(PipelineError):
    """A build directory that is absent, busy, or made by other settings."""


class SampleError(Exception):
    """One sample that cannot be used; it is recorded with this reason and the rest goes on.

    Attributes:
        unreadable: its file could not be read, which may be otherwise another time.
    """

    def __init__(self, reason: str, *, unreadable: bool = False):
        super().__init__(reason)
        self.unreadable = unreadable
