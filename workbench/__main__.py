"""The entry of the ``workbench`` command, and of ``python -m workbench``.

Light, so that an interrupt while the command is still being imported ends it as at any other time.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from workbench.cli import main as command

        return command()
    except KeyboardInterrupt:
        sys.stderr.write("workbench: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
