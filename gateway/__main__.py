"""``python -m gateway`` is ``stats-gateway``."""

from gateway.cli import main

main()
