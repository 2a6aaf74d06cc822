"""A stand-in for the statistics service, for trying and testing without credentials.

It imports nothing from the rest of the package, so that it can prove the rest wrong.
"""

from gateway.sandbox.app import Sandbox, create_sandbox

__all__ = ["Sandbox", "create_sandbox"]
