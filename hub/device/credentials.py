"""Credentials of a device at its hub: an issued token, or the device's own key."""

from pathlib import Path
from typing import Protocol

import msgspec

from hub.clock import Chance, Clock, epoch_ms
from hub.device.identity import BadKeyFile, DeviceIdentity, next_file, open_identity, read_identity
from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.handshake import Challenge, DeviceHello, Identity, signed_text


class BadCredential(HubError):
    """Unusable token, key or invitation; ``str()`` gives the reason."""

    code = ErrorCode.BAD_PARAMS


class Credential(Protocol):
    """Credential with which a device authenticates."""

    def read(self) -> None:
        """Read the files again, once before each connection.

        Raises:
            BadCredential: the credential cannot be used now.
        """
        ...

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        """Return *hello* with the credential, bound to the hub's *challenge*."""
        ...

    def welcomed(self) -> None:
        """Record that the hub accepted the credential."""
        ...

    def take_another(self, *, is_revoked: bool) -> str | None:
        """Switch to another credential after a refusal, if another exists.

        Args:
            is_revoked: True if the refused credential was revoked.

        Returns:
            A message for the person, or None if no other credential exists.
        """
        ...


class TokenCredential:
    """Token, or the file that contains it."""

    def __init__(self, token: str | Path) -> None:
        self._token = token
        self._text = ""

    def read(self) -> None:
        self._text = read_secret(self._token, "token")

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        return msgspec.structs.replace(hello, token=self._text)

    def welcomed(self) -> None:
        pass

    def take_another(self, *, is_revoked: bool) -> str | None:
        return None


class KeyCredential:
    """Key of the device, created on first use; with an invitation until the hub knows the device.

    Args:
        file: file of the key.
        invitation: an invitation, or the file that contains it.
        renews: create a new key if the old one was revoked; once.

    Attributes:
        is_renewed: True if a new key replaced a revoked key.
    """

    def __init__(
        self,
        file: Path,
        *,
        clock: Clock,
        chance: Chance,
        invitation: str | Path | None = None,
        renews: bool = False,
    ) -> None:
        self.file = file
        self.is_renewed = False
        self._renews = renews
        self._clock = clock
        self._chance = chance
        self._invitation = invitation
        self._invitation_text: str | None = None
        self._identity: DeviceIdentity | None = None

    @property
    def identity(self) -> DeviceIdentity:
        """Key pair in use.

        Raises:
            BadCredential: the key cannot be read or created.
        """
        if self._identity is None:
            try:
                self._identity = open_identity(self.file, self._chance)
            except BadKeyFile as error:
                raise BadCredential(str(error)) from error
        return self._identity

    def read(self) -> None:
        assert self.identity
        if self._invitation is not None:
            self._invitation_text = read_secret(self._invitation, "invitation")

    def use(self, file: Path) -> bool:
        """Use the key in *file* from now on; return True if the file differs from the previous one."""
        is_other = file != self.file
        if is_other:
            self.file, self._identity = file, None
        return is_other

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        assert challenge.proof is not None  # checked before
        at, address = epoch_ms(self._clock.now()), challenge.proof.address
        signature = self.identity.sign(signed_text(challenge, hello, at, address=address))
        shown = Identity(
            public_key=keys.encode(self.identity.public_key),
            signature=signature,
            signed_at_ms=at,
            address=address,
        )
        return msgspec.structs.replace(hello, identity=shown, invitation=self._invitation_text)

    def welcomed(self) -> None:
        self._invitation = self._invitation_text = None  # no longer needed, and a secret
        self._renews = False  # a revocation from now on is aimed at this device, not at an old key

    def take_another(self, *, is_revoked: bool) -> str | None:
        """Switch to the next key, which the hub may know already, or to a new one for a revoked key."""
        try:
            if is_revoked and self._renews and not next_file(self.file).exists():
                self.next_identity()
                self._renews, self.is_renewed = False, True
            self.take_next()
        except (BadCredential, FileNotFoundError):
            return None
        made = (
            "the key was revoked; the device has made a new one" if self.is_renewed else "trying the next key"
        )
        return f"{made}: {self.identity.shown}"

    def next_identity(self) -> DeviceIdentity:
        """Return the key that is to replace the current one; create it if it does not exist.

        Raises:
            BadCredential: the key cannot be read or created.
        """
        try:
            return open_identity(next_file(self.file), self._chance)
        except BadKeyFile as error:
            raise BadCredential(str(error)) from error

    def take_next(self) -> None:
        """Replace the current key by the next one.

        Raises:
            BadCredential: the next key cannot be read or renamed.
            FileNotFoundError: no next key exists.
        """
        try:
            fresh = read_identity(next_file(self.file))
            next_file(self.file).replace(self.file)
        except FileNotFoundError:
            raise
        except (BadKeyFile, OSError) as error:
            raise BadCredential(str(error)) from error
        self._identity = fresh


def read_secret(secret: str | Path, name: str) -> str:
    """Return a token or an invitation, read from its file if it is a path.

    Raises:
        BadCredential: the file cannot be read, or the secret is empty.
    """
    try:
        text = secret.read_text("utf-8") if isinstance(secret, Path) else secret
    except (OSError, UnicodeDecodeError) as error:
        raise BadCredential(f"the {name} cannot be read: {error}") from error
    if not text.strip():
        raise BadCredential(f"the {name} is empty")
    return text.strip()
