"""The error of exporting."""


class ExportError(ValueError):
    """A model cannot be exported as asked; says which part and what to do."""
