"""Entry point of a step's process: ``python -m portside.app.step FOLDER``. Started by builds, not by people."""

from __future__ import annotations

import sys

from portside.app.plugins import toolbox
from portside.building.child import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], toolbox()))
