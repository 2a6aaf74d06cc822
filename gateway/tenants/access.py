"""Access: from which scope a tenant's query is answered. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.cache.keys import PUBLIC
from gateway.catalogue.query import Query
from gateway.errors import Forbidden, Unauthenticated
from gateway.tenants.tenant import Credential, Tenant


class Access(msgspec.Struct, frozen=True):
    """A scope, and the credential that goes upstream with it: none in the public scope. ``own`` is the caller's
    own, where it asks in the public one first though it holds a credential."""

    scope: str
    credential: Credential | None
    own: Access | None = None


OPEN = Access(PUBLIC, None)


def authorise(tenant: Tenant, query: Query, shared: Callable[[Query], bool]) -> Access:
    """The scope of this query for this tenant (decision 5), before anything is spent on it.

    A caller's own credential always goes along, but with what is ``shared``: that is asked without, as what others
    may ask inside an institution is.
    Raises Forbidden for another institution's protected query, Unauthenticated where no key came with it.
    """
    credential = tenant.credential_for(query.institution)
    if credential is not None:
        own = Access(credential.fingerprint, credential)
        return Access(OPEN.scope, None, own) if not query.protected and shared(query) else own
    if not query.protected:
        return OPEN
    if tenant.anonymous:
        raise Unauthenticated("This query needs a gateway key.")
    raise Forbidden("Unauthorized request")
