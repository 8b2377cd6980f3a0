"""Paths of agents outside of what a device shares: said only where that is certain."""

from hub.links.roster import REMEMBERED, SharedRoots
from protocol.ids import DeviceId
from tests.support.families import each

DESK = DeviceId("d-1")


@each(
    ("roots", "path", "is_outside"),
    [
        (["~/notes"], "~/notes", False),
        (["~/notes"], "~/notes/work/", False),
        (["~/notes"], "~", False),  # what is shared lies in it
        (["~/notes"], "~/nots", True),
        (["~/notes"], "~/notes2", True),
        (["~/notes", "~/mail"], "~/mail/in", False),
        (["~/notes"], "notes", False),  # relative: it begins at a shared folder
        (["~/notes"], "~/notes/../mail", False),  # only the device knows
        (["~/notes"], "/home/ada/mail", False),  # it may be the home
        (["/srv/docs"], "/srv/dosc", True),
        (["/srv/docs"], "/srv", False),
        (["/srv/docs"], "/", False),
        (["/srv/docs"], "~/docs", True),
        (["/home", "~"], "~/docs", False),
        (["C:\\Users\\ada\\notes"], "~/notes", False),
        ([], "~/nots", False),  # an older device says nothing
    ],
)
def test_a_path_is_outside_where_it_touches_no_root(roots: list[str], path: str, is_outside: bool) -> None:
    shared = SharedRoots()
    shared.record(DESK, roots)
    assert (shared.outside(DESK, [path]), shared.outside(DeviceId("d-2"), [path])) == (
        ([path] if is_outside else []),
        [],
    )


def test_no_more_devices_are_remembered_than_ten_thousand() -> None:
    shared = SharedRoots()
    for n in range(REMEMBERED + 5):
        shared.record(DeviceId(f"d-{n}"), ["~/notes"])
    assert len(shared._of) == REMEMBERED
