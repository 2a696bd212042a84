"""What can go wrong in a search that a user can mend."""


class BudgetError(RuntimeError):
    """A folder holds another search; says what differs."""
