"""The errors of data and training."""


class DataError(ValueError):
    """A data set is missing, incomplete or not usable; says what was looked for."""


class TapError(RuntimeError):
    """A layer that was to be observed is not there, or did not behave; names near misses."""


class StudyError(RuntimeError):
    """A study cannot be read, or its folder holds another; says which setting differs."""


class TrainingError(RuntimeError):
    """Training cannot go on; says at which epoch and why."""


class DivergedError(TrainingError):
    """The loss stopped being finite; says at which epoch."""
