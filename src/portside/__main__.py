"""``python -m portside``."""

from portside.app.cli import main

main()
