"""A certificate authority of the tests' own, and a server whose certificate it signed."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Authority:
    """``file`` holds its certificate, ``folder`` holds it as OpenSSL looks for it; ``server`` is signed by it."""

    file: Path
    folder: Path
    server: ssl.SSLContext


def authority(place: Path, name: str = "private authority") -> Authority:
    """Makes one in an empty folder, with a server for 127.0.0.1. Its name is in lower case."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    own = _builder(subject, subject, key.public_key()).add_extension(constraints, critical=True)
    file, folder = place / "authority.pem", place / "authorities"
    file.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    folder.mkdir()
    (folder / f"{_hash(subject)}.0").write_bytes(file.read_bytes())

    served = ec.generate_private_key(ec.SECP256R1())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = _builder(_name("service"), subject, served.public_key()).add_extension(address, critical=False)
    signed = leaf.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = served.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "server.pem").write_bytes(signed + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(place / "server.pem")
    return Authority(file, folder, server)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - HOUR).not_valid_after(now + HOUR)


def _hash(name: x509.Name) -> str:
    """What OpenSSL names the file by: a digest of the name in lower case, without its outermost header."""
    return f"{int.from_bytes(hashlib.sha1(name.public_bytes()[2:]).digest()[:4], 'little'):08x}"
