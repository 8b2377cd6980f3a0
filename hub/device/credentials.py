"""What a device shows at its hub: a token that was made for it, or the key that it made itself."""

from pathlib import Path
from typing import Protocol

import msgspec

from hub.clock import Chance, Clock, epoch_ms
from hub.device.identity import BadKeyFile, DeviceIdentity, next_file, open_identity, read_identity
from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.handshake import Challenge, DeviceHello, Identity, signed_text


class BadCredential(HubError):
    """The token, the key or the invitation cannot be used; ``str()`` says why."""

    code = ErrorCode.BAD_PARAMS


class Credential(Protocol):
    """A credential that a device shows."""

    def read(self) -> None:
        """Look at the files anew; once before each connection.

        Raises:
            BadCredential: it cannot be used now.
        """
        ...

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        """Return *hello* with what is shown, for a *challenge* that proves the hub."""
        ...

    def welcomed(self) -> None:
        """The hub took us in with it."""
        ...

    def take_another(self, *, is_revoked: bool) -> str | None:
        """After a refusal: show another one from now on, if there is one.

        Args:
            is_revoked: what was shown never opens anything again.

        Returns:
            What to tell the person about it; ``None``: there is no other.
        """
        ...


class TokenCredential:
    """A token, or the file that has it."""

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
    """The device's own key, made when it is needed first; with an invitation until it is known.

    Args:
        file: of the key.
        invitation: it, or the file that has it.
        renews: make a new key where the old one turns out to be revoked; once.

    Attributes:
        is_renewed: a new key took the place of a revoked one.
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
        """The key that is shown now.

        Raises:
            BadCredential: it cannot be read or made.
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
        """Show the key in *file* from now on; return whether that is another one than before."""
        is_other = file != self.file
        if is_other:
            self.file, self._identity = file, None
        return is_other

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        assert challenge.proof is not None  # it was checked
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
        self._invitation = self._invitation_text = None  # it has done its work, and is a secret
        self._renews = False  # who revokes it from now on means this device, not a key of old

    def take_another(self, *, is_revoked: bool) -> str | None:
        """The next key, if the hub took it and died before it could say so; or a new one where wanted."""
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
        """The key that is to replace this one; made when it is not there.

        Raises:
            BadCredential: it cannot be read or made.
        """
        try:
            return open_identity(next_file(self.file), self._chance)
        except BadKeyFile as error:
            raise BadCredential(str(error)) from error

    def take_next(self) -> None:
        """Show the key that was made to replace this one, from now on.

        Raises:
            BadCredential: it cannot be read, or not be put in its place.
            FileNotFoundError: there is none.
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
    """A token or an invitation, or what its file says now.

    Raises:
        BadCredential: the file cannot be read, or there is nothing in it.
    """
    try:
        text = secret.read_text("utf-8") if isinstance(secret, Path) else secret
    except (OSError, UnicodeDecodeError) as error:
        raise BadCredential(f"the {name} cannot be read: {error}") from error
    if not text.strip():
        raise BadCredential(f"the {name} is empty")
    return text.strip()
