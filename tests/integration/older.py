"""The gateway as an older version would be: what it stores has an older schema number."""

from __future__ import annotations

import sys

from gateway.cache import keys
from gateway.cli import main

if __name__ == "__main__":
    keys.SCHEMA -= 1
    sys.argv[0] = "stats-gateway"
    main()
