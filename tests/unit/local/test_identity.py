import os
from pathlib import Path

import pytest

from services.local.identity import PRIVATE_GROUPS, Identity, free_group

STRANGER = Identity(uid=54321, gid=61234)


def test_every_folder_on_the_way_must_let_us_through(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder in (tmp_path, tmp_path.parent, tmp_path / "a", inner):
        folder.chmod(0o711)
    reachable_so_far = STRANGER.may_search(tmp_path.parent)
    assert STRANGER.may_search(inner) == reachable_so_far
    (tmp_path / "a").chmod(0o710)
    assert not STRANGER.may_search(inner)


def test_the_owner_is_judged_by_the_owners_bits_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o077)
    facts = file.stat()
    assert not Identity(facts.st_uid, facts.st_gid)._may(facts, search=False)
    assert STRANGER._may(facts, search=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a file to another group")
def test_a_group_of_ours_opens_what_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    os.chown(file, 0, STRANGER.gid)
    file.chmod(0o640)
    assert STRANGER._may(file.stat(), search=False)
    assert not Identity(STRANGER.uid, STRANGER.gid + 1)._may(file.stat(), search=False)


def test_a_free_group_has_no_name() -> None:
    assert free_group() in PRIVATE_GROUPS
