"""Which public keys a device may have, by arithmetic of its own on the curve of Ed25519."""

from itertools import product

import pytest

from hub.links.auth import BadProof, read_key
from protocol import keys
from tests.support.families import each
from tests.support.keys import KeyPair, b64

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # a root of -1
Point = tuple[int, int]


def doubled(point: Point) -> Point:
    """The point added to itself, on -x^2 + y^2 = 1 + d x^2 y^2."""
    x, y = point
    both = D * x * x * y * y
    return 2 * x * y * pow(1 + both, -1, P) % P, (y * y + x * x) * pow(1 - both, -1, P) % P


def is_on_curve(point: Point) -> bool:
    x, y = point
    return (y * y - x * x - 1 - D * x * x * y * y) % P == 0


def square_roots(number: int) -> set[int]:
    """Both, or none."""
    root = pow(number, (P + 3) // 8, P)
    found = {factor * root % P for factor in (1, -1, ROOT, -ROOT)}
    return {one for one in found if (one * one - number) % P == 0}


def small_points() -> set[Point]:
    """The points that three doublings take to (0, 1).

    One doubling takes a point to x = 0 when x or y is 0, and to y = 0 when x^2 = -y^2, that is
    d y^4 + 2 y^2 = 1.
    """
    numbers = {0, 1, P - 1, ROOT, P - ROOT}
    for root in square_roots(1 + D):
        for y in square_roots((root - 1) * pow(D, -1, P) % P):
            numbers |= {y, y * ROOT % P}
    points = {(x, y) for x, y in product(numbers, numbers) if is_on_curve((x, y))}
    return {point for point in points if doubled(doubled(doubled(point))) == (0, 1)}


def spellings(y: int) -> list[bytes]:
    """Every 32 bytes that are read as *y*, with either sign of x."""
    numbers = [y + more for more in (0, P) if y + more < 2**255]
    return [(number | sign << 255).to_bytes(32, "little") for number in numbers for sign in (0, 1)]


SMALL = small_points()
KEYS = sorted({key for _, y in SMALL for key in spellings(y)})


def test_there_are_eight_points_of_small_order_and_six_more_spellings() -> None:
    assert len(SMALL) == 8
    assert len(KEYS) == 14


@pytest.mark.parametrize("public", KEYS, ids=bytes.hex)
def test_a_key_of_small_order_is_none(public: bytes) -> None:
    with pytest.raises(BadProof, match="the public key is"):
        read_key(b64(public))


@each("y", [P, P + 2, 2**255 - 1])
def test_a_key_is_spelled_in_one_way_only(y: int) -> None:
    with pytest.raises(BadProof, match="not spelled"):
        read_key(b64(y.to_bytes(32, "little")))


@each("seed", range(8))
def test_a_key_that_a_device_makes_is_one(seed: int) -> None:
    key = KeyPair(seed)
    assert read_key(key.spelled).id == keys.key_id(key.public)
