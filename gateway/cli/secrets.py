"""``stats-gateway secrets``: the keys that encrypt credentials wherever they are stored."""

from __future__ import annotations

from typing import Annotated

import typer
from cryptography.fernet import Fernet

from gateway.cli.options import Commands, examples
from gateway.cli.registry import RegistryPath, open_registry, tell

app = Commands(name="secrets", help="Manage the keys that encrypt the institutions' passwords.")


@app.command(
    epilog=examples("export STATS_GATEWAY_ENCRYPTION_KEYS=$(stats-gateway secrets generate)", title="Example")
)
def generate() -> None:
    """Print a new key for STATS_GATEWAY_ENCRYPTION_KEYS."""
    print(Fernet.generate_key().decode())


@app.command(
    epilog=examples(
        "STATS_GATEWAY_ENCRYPTION_KEYS=NEW,OLD stats-gateway secrets rotate",
        "stats-gateway secrets rotate --new-key",
    )
)
def rotate(
    new_key: Annotated[
        bool,
        typer.Option("--new-key", help="First make a new key, in the file beside the registry."),
    ] = False,
    registry: RegistryPath = None,
) -> None:
    """Encrypt every stored password with the newest key.

    Older keys can go then.

    Where the keys come from STATS_GATEWAY_ENCRYPTION_KEYS: set it to NEW,OLD
    everywhere and restart, rotate, then set it to NEW alone. Where they lie in
    the file beside the registry, --new-key does all of it, while gateways run.

    With another newest key credentials have other fingerprints: what is cached
    of protected numbers is fetched anew, at the budget's pace.
    """
    place = open_registry(registry)
    count = place.renew_keys() if new_key else place.reseal()
    tell(f"Encrypted the passwords of {count} tenants with the newest key.")
    tell("The older keys are no longer there." if new_key else "The older keys are no longer needed.")
