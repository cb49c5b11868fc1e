"""The cluster's own certificate authority: who is who, in which role, until when.

Pure: the time is handed in; only keys come from the system's random source, as they must. A
certificate says by its common name who bears it (``manager-ID``, ``worker-ID``, ``client-NAME``),
and by its organizational unit in which role. etcd takes the common name for its user.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, Literal, cast, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nodeagent.errors import Invalid, Refused

Role = Literal["manager", "worker", "admin", "operator", "reader"]
ROLES: Final = get_args(Role)
PEER_NAME: Final = "nodeagent-store"  # of members of the store among their like
NODE_DAYS: Final = 90
CA_DAYS: Final = 20 * 365
SLACK: Final = timedelta(hours=1)  # clocks of hosts differ
RENEW_AT: Final = 2 / 3  # of a certificate's life


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate with its key, both PEM; the key is a secret."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Whom a certificate is for. ``hosts``: where it serves; none: it is good for a client only."""

    name: str
    role: Role | Literal["store"]  # the latter is none that anybody is let in with
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a certificate says of its bearer."""

    name: str
    role: Role
    cluster: str
    not_after: datetime


def create_ca(cluster: str, *, now: float) -> Pair:
    """A new authority for the cluster of that id."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"nodeagent {cluster[:12]}", "ca", cluster)
    certificate = (
        _builder(name, name, key.public_key(), _at(now), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def create_request(name: str) -> tuple[bytes, bytes]:
    """(request, key), both PEM: the key never leaves the host that makes it."""
    key = _key_pem(ec.generate_private_key(ec.SECP256R1()))
    return build_request(name, key), key


def build_request(name: str, key: bytes) -> bytes:
    """A request (PEM) for a certificate of that key (PEM)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(_load_key(key), hashes.SHA256()).public_bytes(Encoding.PEM)


def sign_request(
    ca: Pair, request: bytes, bearer: Bearer, *, now: float, days: int = NODE_DAYS
) -> bytes:
    """A certificate (PEM) for the key of a request; whom it is for is ours to say.

    Raises:
        Invalid: no request, or not signed by its own key.
    """
    try:
        asked = x509.load_pem_x509_csr(request)
    except ValueError as exc:
        raise Invalid("not a certificate request (PEM)", field="request") from exc
    key = asked.public_key()
    if not asked.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise Invalid("the request is not signed by an EC key of its own", field="request")
    return _sign(ca, key, bearer, _at(now), days)


def issue(ca: Pair, bearer: Bearer, *, now: float, days: int = NODE_DAYS) -> Pair:
    """A certificate with a key made here."""
    request, key = create_request(bearer.name)
    return Pair(certificate=sign_request(ca, request, bearer, now=now, days=days), key=key)


def issue_peer(ca: Pair, host: str, *, now: float) -> Pair:
    """What a member of the store shows to the other members, and nobody else takes."""
    return issue(ca, Bearer(name=PEER_NAME, role="store", hosts=(host,)), now=now)


def _sign(
    ca: Pair, key: ec.EllipticCurvePublicKey, bearer: Bearer, now: datetime, days: int
) -> bytes:
    authority, ca_key = x509.load_pem_x509_certificate(ca.certificate), _load_key(ca.key)
    subject = _name(bearer.name, bearer.role, cluster_of(ca.certificate))
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if bearer.hosts:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = (
        _builder(subject, authority.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(key_id, critical=False)
    )
    if names := [_general_name(each) for each in bearer.hosts]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str, role: str, cluster: str) -> x509.Name:
    parts = (
        (NameOID.COMMON_NAME, common),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        (NameOID.ORGANIZATION_NAME, cluster),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# --- reading -------------------------------------------------------------------------------------


def cluster_of(certificate: bytes) -> str:
    """The id of the cluster whose authority this is."""
    return _attribute(x509.load_pem_x509_certificate(certificate), NameOID.ORGANIZATION_NAME)


def read_identity(certificate: bytes) -> Identity:
    """Who a certificate of ours (PEM or DER) is for. It must have been verified already.

    Raises:
        Refused: it names no role of ours.
    """
    is_pem = certificate.startswith(b"-----")
    load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
    found = load(certificate)
    role = _attribute(found, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if role not in ROLES:
        raise Refused("the certificate names no role of this cluster", role=role)
    return Identity(
        name=_attribute(found, NameOID.COMMON_NAME),
        role=cast("Role", role),
        cluster=_attribute(found, NameOID.ORGANIZATION_NAME),
        not_after=found.not_valid_after_utc,
    )


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def is_due(certificate: bytes, *, now: float) -> bool:
    """Whether it is time to renew a certificate (PEM)."""
    found = x509.load_pem_x509_certificate(certificate)
    begin, end = found.not_valid_before_utc, found.not_valid_after_utc
    return _at(now) >= begin + (end - begin) * RENEW_AT


def ca_digest(certificate: bytes) -> str:
    """What a join token pins: SHA-256 over the authority's public key, 64 hex digits."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def pick_ca(bundle: bytes, digest: str) -> bytes:
    """The authority with that digest, of a bundle of PEM. Raises Refused: it is not there."""
    try:
        found = x509.load_pem_x509_certificates(bundle)
    except ValueError as exc:
        raise Refused("the other side sent no certificates") from exc
    for each in found:
        pem = each.public_bytes(Encoding.PEM)
        if ca_digest(pem) == digest:
            return pem
    raise Refused(
        "the other side is not of the cluster that the token is for: another authority, or a "
        "token from before its rotation",
        field="token",
    )


def digests_of(bundle: bytes) -> list[str]:
    """Digests of a bundle's authorities (PEM), in order."""
    found = x509.load_pem_x509_certificates(bundle)
    return sorted(ca_digest(each.public_bytes(Encoding.PEM)) for each in found)


def signer_of(bundle: bytes, certificate: bytes) -> str:
    """The digest of the authority of a bundle that signed a certificate; "" if none did."""
    for each in x509.load_pem_x509_certificates(bundle):
        pem = each.public_bytes(Encoding.PEM)
        try:
            check_signed(pem, certificate)
        except Refused:
            continue
        return ca_digest(pem)
    return ""


def check_signed(authorities: bytes, certificate: bytes) -> None:
    """Refuse a certificate (PEM) that none of these authorities signed."""
    found = x509.load_pem_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            found.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    raise Refused("the certificate is not of this cluster's authority")


def check_manager(authorities: bytes, certificate: bytes, *, now: float) -> None:
    """Refuse who is no manager of ours now: any node's or program's certificate is not enough."""
    check_signed(authorities, certificate)
    found = x509.load_pem_x509_certificate(certificate)
    if not found.not_valid_before_utc <= _at(now) <= found.not_valid_after_utc:
        raise Refused("the manager's certificate is not good now: are the clocks right?")
    if (identity := read_identity(certificate)).role != "manager":
        raise Refused(
            "who answers there is no manager of the cluster",
            who=identity.name,
            role=identity.role,
        )


def join_bundle(certificates: Sequence[bytes]) -> bytes:
    """Several authorities that are trusted at once, as while one replaces another."""
    return b"".join(dict.fromkeys(certificates))


# --- keys ----------------------------------------------------------------------------------------


def _at(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC).replace(microsecond=0)


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid("the authority's key is no EC key", field="key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(certificate=certificate.public_bytes(Encoding.PEM), key=_key_pem(key))
