"""What is sealed opens in its own row alone; keys are made once, and read by nobody else."""

import threading
from pathlib import Path

import pytest

from hub.accounts.sealing_keys import FILE, NODE_FILE, BadKeys, Key, Keyring, KeyStore, NotOpened
from protocol.errors import CodedError, ErrorCode
from protocol.keys import encode
from tests.support.clock import SeededChance
from tests.support.coded import coded

KEY = Key("k1", bytes(32))


def ring(*keys: Key) -> Keyring:
    return Keyring(keys or (KEY,), SeededChance())


def store(state: Path, seed: int = 0, **environ: str) -> KeyStore:
    return KeyStore(state, chance=SeededChance(seed), environ=environ)


def test_sealed_value_opens_only_for_the_original_row_owner_and_key() -> None:
    key_id, sealed = ring().seal("a secret", row="r", owner="c")
    assert ring().open(sealed, str, row="r", owner="c", key_id=key_id) == "a secret"
    assert b"a secret" not in sealed
    for row, connector in (("r2", "c"), ("r", "c2")):
        with pytest.raises(NotOpened):
            ring().open(sealed, str, row=row, owner=connector, key_id=key_id)
    with pytest.raises(NotOpened):
        ring().open(sealed[:-1] + b"\0", str, row="r", owner="c", key_id=key_id)
    with pytest.raises(NotOpened, match="k9"):
        ring().open(sealed, str, row="r", owner="c", key_id="k9")
    with pytest.raises(NotOpened):
        ring().open(b"", str, row="r", owner="c", key_id=key_id)


def test_concurrent_first_use_creates_a_single_key_file_readable_only_by_the_owner(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(store(tmp_path, n).ring_now().newest.id))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), (tmp_path / FILE).stat().st_mode & 0o777) == (8, 1, 0o600)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["credentials.keys"]


def test_key_file_readable_by_others_is_refused(tmp_path: Path) -> None:
    store(tmp_path).ring_now()
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(BadKeys, match="chmod 600"):
        store(tmp_path).ring_now()


def test_keys_of_systemd_credentials_have_precedence_and_are_read_only(tmp_path: Path) -> None:
    store(tmp_path).ring_now()
    (tmp_path / "hub-keys").write_text(f"from-systemd {'A' * 43}\n")
    handed = store(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert handed.ring_now().newest.id == "from-systemd"
    with pytest.raises(BadKeys, match="systemd"):
        handed._add()


def test_a_key_of_the_environment_is_used_until_there_is_a_file(tmp_path: Path) -> None:
    named = store(tmp_path, HUB_KEYS="k1 " + "A" * 43)
    assert named.remedy.startswith("add its line in keys/credentials.keys")
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("text", ["", "k", "k AAAA", f"k {'A' * 43}\nk {'B' * 43}"])
def test_invalid_key_file_is_refused_without_quoting_the_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / FILE).write_text(text)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(BadKeys) as caught:
        store(tmp_path).ring_now()
    assert "AAAA" not in str(caught.value)


def test_added_key_becomes_the_newest_and_only_older_keys_can_be_removed(tmp_path: Path) -> None:
    keys = store(tmp_path)
    old = keys.ring_now().newest.id
    new = keys._add()
    assert [key.id for key in keys.ring_now().keys] == [new.id, old]
    with pytest.raises(BadKeys, match="rotate"):
        keys._remove(new.id)
    keys._remove(old)
    assert [key.id for key in store(tmp_path).ring_now().keys] == [new.id]
    assert "AAAA" not in repr((new, keys.ring_now()))
    assert repr(new) == f"Key({new.id!r})"


def test_shared_keys_open_only_at_the_target_node_beside_the_own_keys(tmp_path: Path) -> None:
    for folder in ("east", "west", "north"):
        (tmp_path / folder).mkdir()
    east, west = store(tmp_path / "east", 1), store(tmp_path / "west", 2)
    given, own = east.ring_now().newest, west.ring_now().newest
    sealed = east.seal_for("west", west.code())
    assert encode(given.secret).encode() not in sealed
    for node_id, other, bad in (
        ("west", store(tmp_path / "north", 3), sealed),
        ("north", west, sealed),
        ("west", west, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("west", west, b""),
    ):
        with pytest.raises(BadKeys, match="not for the code of this node"):
            other.accept(node_id, bad)
    assert west.ring_now().keys == (own,)
    west.accept("west", sealed)
    assert west.ring_now().keys == (given, own)
    west.accept("west", east.seal_for("west", store(tmp_path / "west").code()))
    assert west.ring_now().keys == (given, own), "taken twice, each is there once"
    assert (tmp_path / "west" / NODE_FILE).stat().st_mode & 0o777 == 0o600


def test_keys_are_not_sealed_for_an_invalid_node_code(tmp_path: Path) -> None:
    keys = store(tmp_path)
    for code in ("", "x", "A" * 55, "ä" * 56, encode(bytes(32))):
        with pytest.raises(
            CodedError,
            check=coded(ErrorCode.BAD_PARAMS),
            match="not the code of a node: expected eight groups of seven",
        ):
            keys.seal_for("west", code)


def test_mistyped_node_code_is_refused_with_the_wrong_groups(tmp_path: Path) -> None:
    keys = store(tmp_path)
    groups = keys.code().split("-")
    assert keys.seal_for("west", " ".join(groups).lower())
    for number in range(8):
        typed = [*groups]
        typed[number] = ("B" if typed[number][0] != "B" else "C") + typed[number][1:]
        first = number // 2 * 2 + 1
        with pytest.raises(
            CodedError,
            check=coded(ErrorCode.BAD_PARAMS),
            match=f"mistyped in the groups {first} and {first + 1}",
        ):
            keys.seal_for("west", "-".join(typed))


def test_key_remedy_of_a_node_names_the_share_command(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path, chance=SeededChance(), environ={}, node_id="west")
    assert keys.remedy == f"at a node that has it: hub keys share west {keys.code()}"
    (tmp_path / NODE_FILE).write_text("short")
    assert "node.key is broken: remove it" in keys.remedy
    named = store(tmp_path, HUB_KEYS="k1 " + "A" * 43)
    assert named.remedy.startswith("add its line in keys/credentials.keys")
