"""What commands inherit from whoever runs the tests: nothing that changes what they do or say."""

import os
from typing import Final

OF_INSTALLATIONS: Final = ("GRADELOG_", "PG")
OF_TERMINALS: Final = frozenset(
    {
        *("COLUMNS", "LINES", "TERMINAL_WIDTH"),
        *("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS"),
        *("TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    }
)
"""Who finds one of these writes colours into files too, or breaks lines elsewhere."""


def surroundings() -> dict[str, str]:
    """Our environment without settings of installations and of terminals."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OF_INSTALLATIONS) and name not in {"DATABASE_URL", *OF_TERMINALS}
    }
