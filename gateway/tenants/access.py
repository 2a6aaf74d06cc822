"""Access: from which scope a tenant's query is answered. Pure."""

from __future__ import annotations

import msgspec

from gateway.caching.keys import PUBLIC
from gateway.catalogue.query import Query
from gateway.errors import Forbidden, Unauthenticated
from gateway.tenants.tenant import Credential, Tenant


class Access(msgspec.Struct, frozen=True):
    """A scope, and the credential that goes upstream with it: none in the public scope."""

    scope: str
    credential: Credential | None


OPEN = Access(PUBLIC, None)


def authorise(tenant: Tenant, query: Query) -> Access:
    """The scope of this query for this tenant (decision 5), before anything is spent on it.

    A caller's own credential always goes along; what others may ask inside an institution goes without.
    Raises Forbidden for another institution's protected query, Unauthenticated where no key came with it.
    """
    credential = tenant.credential_for(query.institution)
    if credential is not None:
        return Access(credential.fingerprint, credential)
    if not query.protected:
        return OPEN
    if tenant.anonymous:
        raise Unauthenticated("This query needs a gateway key.")
    raise Forbidden("Unauthorized request")
