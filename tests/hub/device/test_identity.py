"""The device's own key: in a file that only its owner can read, made once, never half."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from hub.device.credentials import (
    BadCredential,
    KeyCredential,
    make_identity,
    next_file,
    open_identity,
    read_identity,
)
from hub.system.files import is_open_to_others
from protocol import keys
from tests.support.clock import FakeClock, SeededChance


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "desk.key"


def test_a_key_is_made_once_and_only_its_owner_can_read_it(file: Path) -> None:
    made = open_identity(file, SeededChance(1))
    assert open_identity(file, SeededChance(2)).id == made.id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert made.shown == keys.shown(made.id)
    signature = keys.decode(made.sign(b"text"), keys.SIGNATURE_BYTES)
    Ed25519PublicKey.from_public_bytes(made.public_key).verify(signature, b"text")


def test_a_key_that_is_there_is_never_overwritten(file: Path) -> None:
    made = open_identity(file, SeededChance(1))
    with pytest.raises(BadCredential, match="cannot make"):
        make_identity(file, SeededChance(2))
    assert (read_identity(file).id, list(file.parent.iterdir())) == (made.id, [file])


def test_a_key_that_others_may_read_is_noticed(file: Path) -> None:
    open_identity(file, SeededChance())
    assert not is_open_to_others(file)
    file.chmod(0o640)
    assert is_open_to_others(file)
    assert not is_open_to_others(file / "nothing")


@pytest.mark.parametrize("kind", ["nonsense", "empty", "another kind", "a password"])
def test_a_file_that_is_no_key_of_a_device_is_refused(file: Path, kind: str) -> None:
    file.parent.mkdir()
    curve = generate_private_key(SECP256R1())
    locked = BestAvailableEncryption(b"secret")
    content = {
        "nonsense": b"not a key",
        "empty": b"",
        "another kind": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "a password": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
    }
    file.write_bytes(content[kind])
    with pytest.raises(BadCredential, match=r"desk\.key holds"):
        open_identity(file, SeededChance())
    with pytest.raises(BadCredential):
        KeyCredential(file, clock=FakeClock(), chance=SeededChance()).read()


def test_a_key_that_cannot_be_read_or_created_is_reported_with_its_path(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(BadCredential, match=r"cannot read the device's key .*desk\.key: Is a directory"):
        read_identity(file)
    with pytest.raises(BadCredential, match=r"cannot make the device's key"):
        open_identity(Path("/proc/nowhere/desk.key"), SeededChance())


def test_the_next_key_takes_the_place_of_the_first(file: Path) -> None:
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance())
    credential.read()
    old = credential.identity
    assert credential.take_another(is_revoked=False) is None
    fresh = credential.next_identity()
    assert credential.next_identity().id == fresh.id != old.id
    assert credential.take_another(is_revoked=True)
    assert credential.identity.id == fresh.id == read_identity(file).id
    assert not next_file(file).exists()


def test_a_key_that_is_revoked_after_it_let_the_device_in_is_not_replaced_by_itself(file: Path) -> None:
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance(), renews=True)
    credential.read()
    credential.welcomed()
    assert credential.take_another(is_revoked=True) is None


def test_an_invitation_is_shown_until_the_hub_has_taken_the_device_in(tmp_path: Path, file: Path) -> None:
    invitation = tmp_path / "invitation"
    credential = KeyCredential(file, clock=FakeClock(), chance=SeededChance(), invitation=invitation)
    with pytest.raises(BadCredential, match="the invitation cannot be read"):
        credential.read()
    invitation.write_text("hub_inv_1\n")
    credential.read()
    credential.welcomed()
    invitation.unlink()
    credential.read()
