"""The gateway, with a record, at the path ``WATCHED``, of each module that it imports and each file it opens."""

from __future__ import annotations

import os
import sys
from typing import Any

from gateway.cli import main

if __name__ == "__main__":
    record = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event in ("import", "open"):
            os.write(record, f"{event} {given[0]}\n".encode())

    sys.addaudithook(heard)
    sys.argv[0] = "stats-gateway"
    main()
