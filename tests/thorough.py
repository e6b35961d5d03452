"""How much the slow tests compare: enough for every change, or all, with ``make test-thorough``."""

import os

THOROUGH = bool(os.environ.get("IRNET_THOROUGH"))


def few_or_all(few: int, all_of_them: int) -> int:
    """Number of rows, formulas or structures that a test takes."""
    return all_of_them if THOROUGH else few
