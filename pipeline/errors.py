"""Errors a user can mend. The command line shows their one sentence and exits with code 2."""

import errno


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


def sentence_of(error: OSError) -> str | None:
    """What to tell about files and the disk; None if the error is about something else."""
    where = f" at {error.filename}" if error.filename else ""
    full = "nothing finished is lost; the same command goes on from there"
    if error.errno == errno.ENOENT and "temporary directory" in str(error.strerror):  # by `tempfile`
        return "there is no folder for temporary files: set TMPDIR to one you may write to"
    return {
        errno.ENOSPC: f"the disk is full{where}: make room and run this again ({full})",
        errno.EDQUOT: f"the disk quota is used up{where}: make room and run this again ({full})",
        errno.EFBIG: f"a file grew past the allowed size{where}: raise the limit and run this again ({full})",
        errno.EMFILE: f"too many files are open{where}: raise `ulimit -n` and run this again ({full})",
        errno.EACCES: f"no permission{where}: choose a --build you may write to",
        errno.EPERM: f"not permitted{where}: choose a --build you may write to",
        errno.EROFS: f"the file system is read-only{where}: choose another --build",
        errno.EEXIST: f"a file is in the way{where}: choose another --build",
        errno.ENOTDIR: f"a file is in the way{where}: choose another --build",
    }.get(error.errno or 0)
