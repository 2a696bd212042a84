"""The `graphstill` command: says what is missing where the command line extra is not installed."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .cli import app
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich", "pydantic"):
            raise
        print("the command line needs: pip install 'graphstill[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    app()


if __name__ == "__main__":
    main()
