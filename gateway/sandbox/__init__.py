"""A stand-in for the statistics service, for trying and testing without credentials.

It imports nothing from the rest of the package, so that it can prove the rest wrong.
"""

from gateway.sandbox.app import Sandbox, create_sandbox
from gateway.sandbox.habits import Habits

__all__ = ["Habits", "Sandbox", "create_sandbox"]
