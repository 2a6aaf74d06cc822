# What one would otherwise put in front of the service: Varnish. Words between @s are filled in by varnish.py, which
# knows the tenants, the origin, and today's date.
#
# Isolation is the gateway's: a key opens a tenant, the tenant's pair for the institution in the path goes to the
# service, and is part of the hash. No limits and no log on disk, in Varnish's favour.

vcl 4.1;

import std;

backend service {
    .host = "127.0.0.1";
    .port = "@origin_port@";
    .connect_timeout = 5s;
    .first_byte_timeout = 20s;
    .between_bytes_timeout = 15s;
}

sub vcl_recv {
    if (req.url == "/-/status") {
        return (synth(200));
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(405));
    }
    unset req.http.Authorization;
    unset req.http.Cookie;

    # From which institution? The first segment, where it is no family's name.
    unset req.http.X-Institution;
    if (req.url !~ "^/(?:total|timeline|breakdown|top|count)/") {
        set req.http.X-Institution = regsub(req.url, "^/([^/?]+)/.*$", "\1");
    }

    # Who asks, and with which credential? An unknown key is nobody's; a tenant has one for some institutions.
    unset req.http.X-Tenant;
@keys@
    if (!req.http.X-Tenant) {
        return (synth(401));
    }

    # In one order, so that two spellings of a request share an answer.
    set req.url = std.querysort(req.url);

    # A moment's staleness is for refreshes; more of it only where the service failed (below).
    if (req.restarts == 0) {
        set req.grace = @grace@s;
    } else {
        set req.grace = 7d;
    }
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    hash_data(req.http.Authorization);
    return (lookup);
}

sub vcl_backend_fetch {
    unset bereq.http.X-API-Key;
    unset bereq.http.X-Tenant;
    unset bereq.http.X-Institution;
    set bereq.http.Host = "127.0.0.1:@origin_port@";
}

sub vcl_backend_response {
    if (beresp.status == 429 || beresp.status >= 500) {
        # A refresh that fails leaves what is there in its place.
        if (bereq.is_bgfetch) {
            return (abandon);
        }
        set beresp.uncacheable = true;
        set beresp.ttl = 0s;
        return (deliver);
    }
    # How long is it good for? An end date that has settled can no longer change; all others can.
    if (beresp.status == 400 || beresp.status == 404) {
        set beresp.ttl = @error@s;
    } else if (beresp.status == 403) {
        set beresp.ttl = @forbidden@s;
    } else if (bereq.url ~ "/(?:timeline|breakdown|top)/[^?]*\?(?:.*&)?end_date=(?:@closed_dates@)(?:&|$)") {
        set beresp.ttl = @closed@s;
    } else if (bereq.url ~ "^(?:/[^/]+)?/(?:timeline|breakdown)/") {
        set beresp.ttl = @open@s;
    } else {
        set beresp.ttl = @totals@s;
    }
    set beresp.grace = 7d;
    return (deliver);
}

sub vcl_deliver {
    # The service failed: once more, and this time anything that is still there will do.
    if ((resp.status == 429 || resp.status >= 500) && req.restarts == 0) {
        return (restart);
    }
    if (obj.hits > 0) {
        set resp.http.X-Cache-Status = "HIT";
    } else {
        set resp.http.X-Cache-Status = "MISS";
    }
}

sub vcl_synth {
    if (resp.status == 503 && req.restarts == 0) {
        return (restart);
    }
}
