"""A control segment is damaged area by area, for an owner, an attached process and a newcomer.

`python tests/control_damage.py` sweeps all areas (docs/segment-format.md); here are those that were
once not survived, and some others, another one each time.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from control_damage import areas, trial, wrong
from segments import Segment

import dsm_native as dsm

AREAS = areas()
HEALED = ("routes", "regions", "node_table", "strays", "region_counts")
LOCK_WORDS = {"held by nobody alive": (0, 0x3FFFFFF1), "of no kind": (16, 0xFFFFFFFF)}


@pytest.mark.parametrize("how", ["zeroed", "ones", "flips"])
@pytest.mark.parametrize("owned", [False, True])
def test_a_damaged_header_is_written_back_by_who_knows_it(name, how, owned):
    told = trial(name, AREAS["header"], how, owned, f"header {how} {owned}")
    assert wrong(told, how) == []
    if how != "ones":  # of which the registry's lock would be refused
        assert {said for steps in told.values() for said in steps.values()} == {"ok"}


def test_a_damaged_area_leads_to_no_wrong_value(name):
    # A node whose mailbox is damaged may end, and is replaced: too long to be awaited here.
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    area, how = (
        draw.choice(sorted(AREAS.keys() - {"mailboxes"})),
        draw.choice(["zeroed", "ones", "flips"]),
    )
    label = f"{area} {how}, seed {seed}"
    told = trial(name, AREAS[area], how, draw.random() < 0.5, label)
    assert wrong(told, how) == [], label
    if area in HEALED:
        assert {said for steps in told.values() for said in steps.values()} == {"ok"}, label


def test_a_lock_whose_bytes_tell_of_nobody_is_taken(name):
    """Stripe locks that a thread number which does not exist holds, or that are of no kind."""
    with dsm.Cluster(2, 2, name=name, stripes=64, segment_bytes=16 << 20) as cluster:
        control, (begin, end) = Segment(name), AREAS["locks"]
        for number, lock in enumerate(range(begin, min(end, begin + 64 * 64), 64)):
            at, word = list(LOCK_WORDS.values())[number % 2]
            control.bytes[lock + at : lock + at + 4] = word.to_bytes(4, "little")
        cluster.default.put_many({index: index for index in range(200)})
        assert cluster.check().clean


def test_a_stray_name_in_the_folder_stops_nobody(name):
    stray = os.fsencode(f"/dev/shm/dsm-{os.getuid()}-{name}") + b"\xae-n0"
    Path(os.fsdecode(stray)).write_bytes(b"")
    with dsm.Cluster(1, name=name, stripes=64) as cluster:
        assert cluster.check().clean
    assert not os.path.exists(stray)


def test_check_tells_of_objects_of_synchronisation_by_name(name):
    with dsm.Cluster(2, 2, name=name, stripes=64, segment_bytes=16 << 20) as cluster:
        cluster.semaphore("seats", 3)  # the first record
        cluster.queue("jobs").put("work")
        assert cluster.check().clean
        available = AREAS["syncs"][0] + 256 + 8  # its second word, which follows from the rest
        Segment(name).bytes[available] ^= 4
        found = cluster.check()
        assert found.problems == 1
        assert found.texts[0].startswith("semaphore 'seats': ")
        mended = cluster.check(repair=True)
        assert mended.repaired == 1
        assert mended.repairs[0].startswith("semaphore 'seats': ")
        assert cluster.check().clean
        assert cluster.queue("jobs").get(timeout=1) == "work"


def test_repairs_are_told_item_by_item(name):
    with dsm.Cluster(2, 2, name=name, stripes=16, segment_bytes=16 << 20) as cluster:
        cluster.default.put_many({index: b"needle%06d" % index for index in range(100)})
        assert cluster.check().clean
        assert Segment(name, 1).flip(b"needle%06d" % 7)
        report = cluster.check(repair=True)
        assert report.repaired == len(report.repairs) == 1
        assert re.search(r"mended .*stripe \d+", report.repairs[0])
        assert cluster.check().repairs == []
