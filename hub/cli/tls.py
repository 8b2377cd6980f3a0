"""Command ``hub tls init``: a local certificate authority and a certificate for the hub.

The authority can sign for the hub's own names only, so a phone that trusts it trusts it for nothing else.
"""

import ipaddress
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.base.atomic_file import write_atomically
from hub.base.printable import shell_word
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.options import config_option, example, json_option

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

AUTHORITY: Final = "hub-ca"
HUB: Final = "hub"
ALWAYS: Final = ("localhost", "127.0.0.1", "::1")  # names of every hub
OF_AUTHORITY: Final = timedelta(days=3_650)
OF_HUB: Final = timedelta(days=397)  # as long as browsers take
BEFORE: Final = timedelta(days=1)  # clocks differ
NOWHERE: Final = ("192.0.2.1", 9)  # for documentation; nothing is sent there


@click.group(epilog=example("hub tls init --name hub.home.arpa"))
def tls() -> None:
    """Make certificates for the listeners, for the local network."""


@tls.command("init", epilog=example("hub tls init --name hub.home.arpa"))
@config_option
@click.option("--name", "names", multiple=True, help="Another name or address of the hub; several times.")
@json_option
def init(config: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Make a local authority and a certificate for the hub's names, beside hub.toml.

    Without --name they are the names and addresses of this machine. Again, with the same authority, it renews
    the certificate, which lasts 13 months.
    """
    folder, now = config.absolute().parent, show.clock.now()
    _refuse_links(folder)
    with using(folder, "write into", Exit.CANNOT_CREATE):
        authority, key = _authority(folder, _names(names), now)
        certificate = _signed(folder, authority, key, now)
    written = folder / f"{HUB}.crt"
    made = {
        "certificate": str(written),
        "key": str(folder / f"{HUB}.key"),
        "authority": str(folder / f"{AUTHORITY}.crt"),
        "names": _spelled(certificate),
        "expires_at": certificate.not_valid_after_utc.isoformat(),
    }
    if as_json:
        show.print_json("tls", made)
        return
    until = show.moment(certificate.not_valid_after_utc.isoformat())
    show.report(
        f"wrote {written}, for {', '.join(_spelled(certificate))}, until {until}",
        f"in {config}, at [listen.operator] and [listen.devices]:",
        f'  tls = {{ certificate = "{HUB}.crt", key = "{HUB}.key" }}',
        "then: hub down, and hub up, whose own device follows",
        f"let browsers, other desktops and phones trust {made['authority']}, and keep its key here",
    )


def _refuse_links(folder: Path) -> None:
    """Raise Failure if a certificate or key to be written is a link."""
    pairs = {name: (folder / f"{name}.crt", folder / f"{name}.key") for name in (AUTHORITY, HUB)}
    if all(file.exists() for file in pairs[AUTHORITY]):
        del pairs[AUTHORITY]  # it is read
    for file in (file for pair in pairs.values() for file in pair if file.is_symlink()):
        next_step = f"remove the link, or make the certificate beside {file.resolve()} by --config"
        raise CommandError(f"cannot write {file}: it is a link", Exit.CANNOT_CREATE, next_step=next_step)


def _names(given: Sequence[str]) -> "list[x509.GeneralName]":
    """Return the names and addresses of the hub; by default those of this machine."""
    from cryptography import x509

    if not given:
        host = socket.gethostname().lower()
        given = [host, f"{host.partition('.')[0]}.local", *_addresses()]
    known = dict.fromkeys((*ALWAYS, *given))
    found: list[x509.GeneralName] = []
    for name in known:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _addresses() -> list[str]:
    """Return the address by which this machine reaches others, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reaching:
        try:
            reaching.connect(NOWHERE)
        except OSError:
            return []
        return [str(reaching.getsockname()[0])]


def _authority(
    folder: Path, names: "list[x509.GeneralName]", now: datetime
) -> "tuple[x509.Certificate, EllipticCurvePrivateKey]":
    """Return the authority in *folder*; a new one is for these *names* alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file, key_file = folder / f"{AUTHORITY}.crt", folder / f"{AUTHORITY}.key"
    if key_file.exists() and file.exists():
        loaded = load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        authority = x509.load_pem_x509_certificate(file.read_bytes())
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value
        if missing := set(map(_tree, names)) - set(permitted.permitted_subtrees or ()):
            shown = ", ".join(sorted(str(name.value) for name in missing))
            signed = [str(_leaf(tree).value) for tree in permitted.permitted_subtrees or ()]
            again = (
                " ".join(f"--name {shell_word(name)}" for name in signed if name not in ALWAYS)
                or f"--name {ALWAYS[0]}"
            )
            next_step = (
                f"to renew: hub tls init {again}; for more names, remove {key_file} first, "
                "and let every device trust the new authority"
            )
            raise CommandError(f"{file} is not for {shown}", Exit.FAILED, next_step=next_step)
        return authority, loaded
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"hub on {socket.gethostname()}"[:64])])
    authority = (
        _begun(subject, subject, key, now, OF_AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints([_tree(name) for name in names], None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, _digest())
    )
    write_atomically(file, _pem(authority), mode=0o644)
    write_atomically(key_file, _key_pem(key), mode=0o600)
    return authority, key


def _signed(
    folder: Path, authority: "x509.Certificate", key: "EllipticCurvePrivateKey", now: datetime
) -> "x509.Certificate":
    """Write a certificate for the names of the authority, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    own = ec.generate_private_key(ec.SECP256R1())
    permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    names = [_leaf(tree) for tree in permitted or ()]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HUB)])
    certificate = (
        _begun(subject, authority.subject, own, now, OF_HUB)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
        .sign(key, _digest())
    )
    write_atomically(folder / f"{HUB}.key", _key_pem(own), mode=0o600)
    write_atomically(folder / f"{HUB}.crt", _pem(certificate) + _pem(authority), mode=0o644)
    return certificate


def _begun(
    subject: "x509.Name",
    issuer: "x509.Name",
    key: "EllipticCurvePrivateKey",
    now: datetime,
    lasts: timedelta,
) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> "x509.KeyUsage":
    from cryptography import x509

    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **unused)


def _tree(name: "x509.GeneralName") -> "x509.GeneralName":
    """Return a name as a constraint has it: an address is a network of one."""
    from cryptography import x509

    return x509.IPAddress(ipaddress.ip_network(name.value)) if isinstance(name, x509.IPAddress) else name


def _leaf(tree: "x509.GeneralName") -> "x509.GeneralName":
    from cryptography import x509

    if isinstance(tree, x509.IPAddress):
        return x509.IPAddress(ipaddress.ip_network(tree.value).network_address)
    return tree


def _spelled(certificate: "x509.Certificate") -> list[str]:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def _digest() -> "SHA256":
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
