"""The errors of serving.

ServeError
├── BundleError      a bundle is missing, damaged, or asks for what is not allowed
├── InputError       a call's inputs do not fit the model
└── ProviderError    an execution provider cannot be had
"""


class ServeError(Exception):
    """Whatever goes wrong between a bundle and an answer."""


class BundleError(ServeError, ValueError):
    """A bundle is missing, damaged, or asks for what is not allowed."""


class InputError(ServeError, ValueError):
    """A call's inputs do not fit the model."""


class ProviderError(ServeError, RuntimeError):
    """An execution provider cannot be had."""
