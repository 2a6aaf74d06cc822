"""Makes the parts of a gateway once in the process that tests fork theirs from: most of a start is reading
templates and describing types, which a fork need not do again. It starts no thread and opens nothing."""

from __future__ import annotations

import os

from gateway.app import create_application
from gateway.setting_values import PREFIX
from gateway.settings import load_settings

for name in [name for name in os.environ if name.startswith(PREFIX)]:
    del os.environ[name]  # those who are forked have an environment of their own
create_application(load_settings(redis_url="memory://"))
