"""Histories as plain data, and their recording by processes that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsm_native.testing import (
    HistoryError,
    Operation,
    Recorder,
    check_linearizable,
    history,
    merge,
    read_history,
    write_history,
)
from dsm_native.testing.history import decode_plain, encode_plain

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(PLAIN)
def test_every_plain_value_survives_the_file_format(value):
    assert decode_plain(json.loads(json.dumps(encode_plain(value)))) == value


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), {1}])
def test_a_value_that_is_not_plain_is_named(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        encode_plain(value)


def test_a_history_survives_its_file(tmp_path):
    operations = [
        Operation("a", "put", ("k", b"\x00"), "v", 0, 5, 17),
        Operation("b", "put_if_version", "x", 2, 1, 3, False, 9),
        Operation(3, "get", 7, None, 2, 4),
        Operation("c", "add", "n", 5, 3, None),
    ]
    write_history(tmp_path / "run.jsonl", operations)
    assert read_history(tmp_path / "run.jsonl") == operations


def test_a_damaged_file_names_its_line(tmp_path):
    path = tmp_path / "run.jsonl"
    write_history(path, [Operation("a", "put", "x", 1, 0, 5)])
    path.write_text(path.read_text() + '{"session": "a"}\n')
    with pytest.raises(HistoryError, match="line 2"):
        read_history(path)


def test_plain_tuples_are_a_history_and_are_sorted():
    read = ("b", "get", "x", 1, 3, 4)
    write = ("a", "put", "x", 1, 0, 2)
    assert history([read, write]) == [Operation(*write), Operation(*read)]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([("a", "set", "x", 1, 0, 1)], "none of"),
        ([("a", "put", "x", 1, 5, 4)], "before it was invoked"),
        ([("a", "put", "x", None, 0, 1)], "stands for an absent key"),
        ([("a", "put", "x", float("nan"), 0, 1)], "not equal to itself"),
        ([("a", "add", "x", "1", 0, 1)], "not a number"),
        ([("a", "cas", "x", 1, 0, 1)], "whether it wrote"),
        ([("a", "put_if_version", "x", 1, 0, 1, 7)], "which version"),
        ([("a", "get", "x", 1, 0, None)], "open and yet"),
        ([("a", "put", "x", 1, 0, None), ("a", "get", "x", 1, 2, 3)], "under a new name"),
        ([("a", "put", "x", 1, 0, 4), ("a", "get", "x", 1, 4, 5)], "not after its previous"),
    ],
)
def test_a_history_that_breaks_a_law_is_refused(operations, message):
    with pytest.raises(HistoryError, match=message):
        history(operations)


def test_recorded_operations_come_back(tmp_path):
    with Recorder(tmp_path, "p1") as recorder:
        with recorder.recording("put", "x", 3) as outcome:
            outcome.result = 11
        with recorder.recording("get", "x") as outcome:
            outcome.value, outcome.result = 3, 11
        with recorder.recording("put_if_version", "x", 4, expected=7) as outcome:
            outcome.result = False
    with Recorder(tmp_path, 2) as recorder:
        recorder.invoke("delete", "y")
        recorder.returned(result=False)
    put, get, conditional, delete = merge(tmp_path)
    assert (put.session, put.kind, put.key, put.value, put.result) == ("p1", "put", "x", 3, 11)
    assert (get.value, get.result) == (3, 11)
    assert (conditional.value, conditional.expected, conditional.result) == (4, 7, False)
    assert (delete.session, delete.result) == (2, False)
    times = [t for item in (put, get, conditional, delete) for t in (item.invoked, item.returned)]
    assert times == sorted(set(times))


def test_the_clock_is_that_of_the_whole_system(tmp_path):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    with Recorder(tmp_path, "p") as recorder, recorder.recording("put", "x", 1):
        inside = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    (put,) = merge(tmp_path)
    assert before <= put.invoked <= inside <= put.returned <= after


def test_an_exception_leaves_the_operation_open_and_the_session_goes_on_renamed(tmp_path):
    recorder = Recorder(tmp_path, "p")
    with pytest.raises(TimeoutError), recorder.recording("put", "x", 1):
        raise TimeoutError
    with recorder.recording("get", "x") as outcome:
        outcome.value = 1
    recorder.close()
    put, get = merge(tmp_path)
    assert put.is_open
    assert put.session == "p"
    assert get.session == "p~2"


def put_into_a_full_store(recorder):
    with recorder.recording("put", "x", 2) as outcome:
        outcome.refuse()
        raise MemoryError


def test_a_refused_operation_leaves_the_history(tmp_path):
    recorder = Recorder(tmp_path, "p")
    with recorder.recording("put", "x", 1) as outcome:
        outcome.refuse()
    with pytest.raises(MemoryError):
        put_into_a_full_store(recorder)
    recorder.invoke("put", "x", 3)
    recorder.refused()
    recorder.close()
    assert merge(tmp_path) == []


def test_a_session_name_is_used_once(tmp_path):
    Recorder(tmp_path, "p").close()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path, "p")
    with pytest.raises(HistoryError):
        Recorder(tmp_path, "../p")


def test_an_outcome_needs_an_operation(tmp_path):
    with Recorder(tmp_path, "p") as recorder, pytest.raises(HistoryError, match="no operation"):
        recorder.returned()


def test_a_forked_child_may_not_write_into_its_parents_session(tmp_path):
    recorder = Recorder(tmp_path, "p")
    child = os.fork()
    if child == 0:
        try:
            recorder.invoke("put", "x", 1)
        except HistoryError:
            os._exit(42)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert merge(tmp_path) == []


def test_a_record_torn_at_any_byte_is_an_open_operation_or_none(tmp_path):
    with Recorder(tmp_path, "p") as recorder, recorder.recording("put", "x", 1) as outcome:
        outcome.result = 5
    whole = recorder.path.read_bytes()
    begins = [0] + [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        recorder.path.write_bytes(whole[:length])
        operations = merge(tmp_path)
        assert len(operations) == (length >= begins[2])
        assert [item.is_open for item in operations] == [length < begins[3]] * len(operations)


def test_damage_before_the_last_line_is_an_error(tmp_path):
    with Recorder(tmp_path, "p") as recorder, recorder.recording("put", "x", 1):
        pass
    lines = recorder.path.read_bytes().splitlines(keepends=True)
    recorder.path.write_bytes(lines[0] + lines[1][:-9] + b"\n" + lines[2])
    with pytest.raises(HistoryError, match="line 2"):
        merge(tmp_path)


# A store in a file, correct because it is locked; its clients are real processes.
CLIENT = """
import fcntl, os, random, sys
from dsm_native.testing import Recorder
directory, session, seed = sys.argv[1:]
draw = random.Random(int(seed))
store = os.open(directory + "/store", os.O_RDWR | os.O_CREAT)
recorder = Recorder(directory + "/sessions", session)
print("ready", flush=True)
sys.stdin.readline()
serial = 0
while True:
    serial += 1
    if draw.random() < 0.5:
        value = session + "." + str(serial)
        with recorder.recording("put", "x", value):
            fcntl.flock(store, fcntl.LOCK_EX)
            os.pwrite(store, value.ljust(40).encode(), 0)
            fcntl.flock(store, fcntl.LOCK_UN)
    else:
        with recorder.recording("get", "x") as outcome:
            fcntl.flock(store, fcntl.LOCK_SH)
            outcome.value = os.pread(store, 40, 0).decode().strip() or None
            fcntl.flock(store, fcntl.LOCK_UN)
"""


def start_client(directory: Path, session: str, seed: int) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(directory), session, str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert client.stdout.readline() == "ready\n"
    return client


def test_clients_killed_while_recording_leave_a_linearizable_history(tmp_path):
    (tmp_path / "sessions").mkdir()
    draw = random.Random(5)
    clients = [start_client(tmp_path, f"c{number}", number) for number in range(9)]
    for number in range(9 + 3):
        if number < 9:
            clients[number].stdin.write("go\n")
            clients[number].stdin.flush()
        if number >= 3:
            record = tmp_path / "sessions" / f"c{number - 3}.session.jsonl"
            length_bytes = draw.randint(5_000, 30_000)
            while record.stat().st_size < length_bytes:
                os.sched_yield()
            victim = clients[number - 3]
            victim.kill()
            assert victim.wait() == -signal.SIGKILL
            victim.stdin.close()
            victim.stdout.close()
    operations = merge(tmp_path / "sessions")
    sessions = {item.session for item in operations}
    assert len(sessions) == 9
    assert sum(not item.is_open for item in operations) > 100
    verdict = check_linearizable(operations)
    assert verdict, str(verdict)

    # The same run with one stale read must be refused, or the test above shows nothing.
    reads = [n for n, item in enumerate(operations) if item.kind == "get" and not item.is_open]
    late = reads[-1]
    first = next(item for item in operations if item.kind == "put" and not item.is_open)
    assert any(
        first.precedes(item) and item.precedes(operations[late])
        for item in operations
        if item.kind == "put" and item.value != first.value
    )
    operations[late] = operations[late]._replace(value=first.value)
    assert not check_linearizable(operations)


def test_a_client_killed_inside_an_operation_leaves_it_open(tmp_path):
    program = (
        "import sys, time\n"
        "from dsm_native.testing import Recorder\n"
        "with Recorder(sys.argv[1], 'p').recording('put', 'x', 1):\n"
        "    print('inside', flush=True)\n"
        "    time.sleep(60)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert client.stdout.readline() == b"inside\n"
    client.kill()
    client.wait()
    client.stdout.close()
    (put,) = merge(tmp_path)
    assert put.is_open
    assert (put.kind, put.key, put.value) == ("put", "x", 1)


def test_operations_may_be_mappings_with_the_names_of_the_fields():
    row = {"session": "a", "kind": "put", "key": "x", "value": 1, "invoked": 0, "returned": None}
    assert history([row]) == history([("a", "put", "x", 1, 0, None)])


@pytest.mark.parametrize(
    "row",
    [
        ("a", "put", "x", 1, 5),
        7,
        {"session": "a"},
        ("a", "put", "x", [1], 0, 1),
        ("a", "put", {}, 1, 0, 1),
        ("a", "put", "x", 1, "0", 1),
        ("a", "put", "x", 1, 0, "1"),
        ("a", "put", "x", 1, None, None),
    ],
)
def test_what_is_no_operation_is_told_as_such(row):
    with pytest.raises(HistoryError):
        history([row, ("b", "get", "x", None, 0, 1)])
