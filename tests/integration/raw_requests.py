"""Requests in literal bytes: those that two parsers could read differently, and those with one meaning."""

from __future__ import annotations

TOKEN = "an-admin-token"
HOST = b"Host: gateway\r\n"


def get(target: bytes = b"/a", *fields: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"GET " + target + b" " + version, b"Host: gateway", *fields, b"", b""])


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/a") -> bytes:
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"Host: gateway", *fields, b"", b""]) + body


def chunked(*lines: bytes) -> bytes:
    return post(CHUNKED, body=b"".join(lines))


CHUNKED = b"Transfer-Encoding: chunked"
AS_ADMIN = b"Authorization: Bearer " + TOKEN.encode()
END = b"0\r\n\r\n"
SMUGGLED = {
    "statistics": get(b"/smuggled"),
    "generic": get(b"/smuggled"),
    "admin": b"DELETE /api/tenants/smuggled HTTP/1.1\r\n" + HOST + AS_ADMIN + b"\r\n\r\n",
}


REFUSED = {
    "bare LF": b"GET /a HTTP/1.1\nHost: a\n\n",
    "bare LF after the request line": b"GET /a HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF at the head's end": b"GET /a HTTP/1.1\r\nHost: a\r\n\n",
    "CR CR LF": b"GET /a HTTP/1.1\r\r\n" + HOST + b"\r\n",
    "obs-fold": get(b"/a", b"X: a\r\n b"),
    "obs-fold with a tab": get(b"/a", b"X: a\r\n\tb"),
    "a folded first field": b"GET /a HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "a space before the colon": get(b"/a", b"X : a"),
    "a tab before the colon": get(b"/a", b"X\t: a"),
    "a space in a name": get(b"/a", b"X Y: a"),
    "obs-text in a name": get(b"/a", b"X\xe9: a"),
    "NUL in a name": get(b"/a", b"X\0: a"),
    "NUL in a value": get(b"/a", b"X: a\0b"),
    "CR in a value": get(b"/a", b"X: a\rb"),
    "LF in a value": get(b"/a", b"X: a\nY: b"),
    "DEL in a value": get(b"/a", b"X: a\x7fb"),
    "two Hosts": get(b"/a", b"Host: other"),
    "two Hosts in one": b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "userinfo in Host": b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a path in Host": b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "no Host": b"GET /a HTTP/1.1\r\n\r\n",
    "two spaces before the target": b"GET  /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces after the target": b"GET /a  HTTP/1.1\r\n" + HOST + b"\r\n",
    "two versions": b"GET /a HTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space after the version": b"GET /a HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a space before the method": b" GET /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the request line": b"GET\t/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /a\r\n\r\n",
    "HTTP/1.10": get(version=b"HTTP/1.10"),
    "HTTP/01.1": get(version=b"HTTP/01.1"),
    "http/1.1": get(version=b"http/1.1"),
    "RTSP/1.0": get(version=b"RTSP/1.0"),
    "ICE/1.0": get(version=b"ICE/1.0"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get(),
    "a fragment": get(b"/a#b"),
    "asterisk form": get(b"*"),
    "authority form": get(b"a.example:443"),
    "a length on GET": get(b"/a", b"Content-Length: 3") + b"abc",
    "chunks on GET": get(b"/a", CHUNKED) + b"1\r\na\r\n" + END,
    "chunks on GET, and their end": get(b"/a", CHUNKED) + b"1\r\na\r\n" + END + get(b"/b"),
    "no chunks on GET, ended by LF": get(b"/a", CHUNKED) + b"0\n\n",
    "no chunks on GET, and a length": get(b"/a", CHUNKED, b"Content-Length: 0") + END,
    "CL.TE": post(b"Content-Length: 6", CHUNKED, body=END + b"G"),
    "TE.CL": post(CHUNKED, b"Content-Length: 3", body=b"1\r\nZ\r\n" + END),
    "TE.TE, another first": post(b"Transfer-Encoding: cow", CHUNKED, body=END),
    "TE.TE, another last": post(CHUNKED, b"Transfer-Encoding: identity", body=END),
    "TE.TE, in one field": post(b"Transfer-Encoding: chunked, identity", body=END),
    "TE after a comma": post(b"Transfer-Encoding: , chunked", body=END),
    "TE before a comma": post(b"Transfer-Encoding: chunked,", body=END),
    "TE of another coding": post(b"Transfer-Encoding: xchunked", body=END),
    "TE in quotes": post(b'Transfer-Encoding: "chunked"', body=END),
    "TE with a parameter": post(b"Transfer-Encoding: chunked;q=1", body=END),
    "TE behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=END),
    "TE behind a no-break space": post(b"Transfer-Encoding: \xa0chunked", body=END),
    "TE before NUL": post(b"Transfer-Encoding: chunked\0", body=END),
    "TE with a space before the colon": post(b"Transfer-Encoding : chunked", body=END),
    "TE with a space before the name": post(b"X: a\r\n Transfer-Encoding: chunked", body=END),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked", body=END),
    "TE behind a bare LF": post(b"X: a\nTransfer-Encoding: chunked", body=END),
    "TE behind a bare CR": post(b"X: a\rTransfer-Encoding: chunked", body=END),
    "TE that is empty": post(b"Transfer-Encoding:", b"Content-Length: 3", body=b"abc"),
    "TE in HTTP/1.0": b"POST /a HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n" + END,
    "two lengths that differ": post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"),
    "one length twice": post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a length behind a space and a colon": post(b"Content-Length : 3", body=b"abc"),
    **{
        f"a length of {text!r}": post(b"Content-Length: " + text, body=b"abc")
        for text in (b"+3", b"-3", b"0x3", b"3,3", b"3, 4", b"3 4", b"3;", b"3.0", b"1e1", b"3_0", b"", b"\x0b3",
                     b"3\x0c", b"'3'", "٣".encode(), b"9" * 19)
    },
}  # fmt: skip
BROKEN_CHUNKS = {
    "a size in hexadecimal by prefix": chunked(b"0x3\r\nabc\r\n", END),
    "a size with a plus": chunked(b"+3\r\nabc\r\n", END),
    "a size with a minus": chunked(b"-1\r\nabc\r\n", END),
    "a size with an underscore": chunked(b"0_3\r\nabc\r\n", END),
    "a size before a space": chunked(b"3 \r\nabc\r\n", END),
    "a size behind a space": chunked(b" 3\r\nabc\r\n", END),
    "a size beyond 64 bits": chunked(b"10000000000000003\r\nabc\r\n", END),
    "no size": chunked(b"\r\nabc\r\n", END),
    "bare LF behind a size": chunked(b"3\nabc\r\n", END),
    "bare CR behind a size": chunked(b"3\rabc\r\n", END),
    "bare LF in an extension": chunked(b"3;a\nabc\r\n", END),
    "bare CR in an extension": chunked(b"3;a=\r1\r\nabc\r\n", END),
    "NUL in an extension": chunked(b"3;a=\0\r\nabc\r\n", END),
    "bare LF behind a chunk": chunked(b"3\r\nabc\n", END),
    "a chunk longer than its size": chunked(b"3\r\nabcd\r\n", END),
    "a chunk without an end": chunked(b"3\r\nabc", END),
    "bare LF at the end": chunked(b"3\r\nabc\r\n0\r\n\n"),
    "a trailer with a bare LF": chunked(b"0\r\nX: a\n\r\n"),
    "a trailer with a space before the colon": chunked(b"0\r\nX : a\r\n\r\n"),
    "a folded trailer": chunked(b"0\r\nX: a\r\n b\r\n\r\n"),
    "a request in the trailer's place": chunked(b"0\r\n" + get(b"/smuggled")),
}


NEVER = {
    "HTTP/2.0": (505, get(version=b"HTTP/2.0")),
    "the HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a method that nobody knows": (501, b"FETCH /a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method in lower case": (501, b"connect a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a target beyond all bounds": (414, get(b"/" + b"a" * 20_000)),
    "CONNECT": (405, b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TRACE": (405, b"TRACE /a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "another server in absolute form": (421, get(b"http://elsewhere.example/a")),
    "another server's name before ours": (421, get(b"http://elsewhere.example@gateway/a")),
    "a length beyond all bounds": (413, post(b"Content-Length: " + b"9" * 18)),
    "a chunk beyond all bounds": (413, chunked(b"FFFFFFFFFFFFFFFF\r\nabc\r\n", END)),
}


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
BODIES = {
    "a length": (b"abc", post(b"Content-Length: 3", body=b"abc")),
    "a length with zeros": (b"abc", post(b"Content-Length: 003", body=b"abc")),
    "a request as its body": (get(b"/b"), post(b"Content-Length: %d" % len(get(b"/b")), body=get(b"/b"))),
    "chunks of nothing": (b"", chunked(END)),
    "chunks": (b"abc", chunked(b"1\r\na\r\n2\r\nbc\r\n", END)),
    "chunks in odd case": (b"abc", post(b"Transfer-Encoding: cHuNkEd", body=b"3\r\nabc\r\n" + END)),
    "a request as a chunk": (get(b"/b"), chunked(b"%x\r\n" % len(get(b"/b")), get(b"/b"), b"\r\n", END)),
    "an end of chunks as a chunk": (END, chunked(b"5\r\n", END, b"\r\n", END)),
    "extensions": (b"abc", chunked(b'3;a=b; c="d;e"\r\nabc\r\n', b"0;last\r\n\r\n")),
    "trailers": (b"abc", chunked(b"3\r\nabc\r\n0\r\nContent-Length: 9\r\nX-Evil: 1\r\n\r\n")),
    "a wish for HTTP/2": (b"abc", post(*UPGRADE, b"Content-Length: 3", body=b"abc")),
    "an expectation": (b"abc", post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc")),
    "another expectation": (b"abc", post(b"Expect: 200-maybe", b"Content-Length: 3", body=b"abc")),
    "underscores": (b"abc", post(b"Content_Length: 9", b"Content-Length: 3", body=b"abc")),
}
