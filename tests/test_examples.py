"""The examples run and print their proof; the README's first screen is one of them, verbatim."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
from processes import ROOT, environment, run

EXAMPLES = Path(ROOT) / "examples"
README = (Path(ROOT) / "README.md").read_text()

# Lines that must be printed, as patterns: what differs from run to run is left open.
PROOFS = {
    "custom_protocol": [
        r"HastyRegister, seed \d+, strong: \d+ operations are NOT correct: .*",
        r"session [\d.]+ +\[ put\(x, \d+\) .*",
        r"needs \d of its \d faults, .*",
        r"Register: 20 seeds, \d{4} operations, all linearizable",
    ],
    "first_screen": [r"1000 answers, 1000 visits; open all night"],
    "wordcount": [r"\d+ files; the same as counted by one process: True"],
    "shared_cache": [
        r"exit codes: 0 0 0",
        r"300 results, all of them right: True; asked 900 times, stored 300 times",
    ],
    "counters": [
        r"each by itself: 5000 5000 5000 5000",
        r"last one saw the full count: True",
        r"expected 20000, counted 20000",
    ],
    "heat": [
        r"workers killed with SIGKILL inside a block: 1",
        r"problems in shared memory: 0",
        r"the same as computed by one process: True",
    ],
    "kmeans": [r"the same as numpy in one process: centres True, labels True"],
    "table": [
        r"pandas (is not installed here|sees the write, without a copy: True)",
        r"pyarrow (is not installed here|sees the write, without a copy: True)",
        r"DLPack sees the write, without a copy: True",
    ],
    "views": [
        r"row sums on the nodes are right: True",
        r"type: ndarray \(1000, 1000\) writeable: False",
        r"after the cluster has ended, the view is unchanged: True",
    ],
    "elastic": [
        r"node \d+ in the place of node 1; objects by node: .*",
        r"every count is right: True, every text is there: True",
        r"nodes that have left: 2, failures: 0",
        r"problems in shared memory: 0",
    ],
    "bank": [
        r"workers killed: 1",
        r"\d+ transfers; lowest balance is negative: False",
        r"sum of all accounts: 2000, expected 2000",
        r"problems in shared memory: 0",
    ],
    "checkpoint": [
        r"6 checkpoints while money moved: True",
        r"verified: True",
        r"restored onto 3 nodes; sum of all accounts: 5000",
        r"array restored: True",
        r"versions go on: True",
        r"problems in shared memory: 0",
    ],
    "pipeline": [
        r"2 producers, 3 consumers, 1 of them killed mid-way",
        r"delivered again: 1",
        r"2000 of 2000 items processed, all results right: True",
    ],
    "kill": [
        r"12 writers killed after \d+ puts",
        r"acknowledged puts lost: 0, torn values: 0",
        r"problems found in shared memory: 0",
    ],
}


def output_of(name: str) -> str:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def masked(text: str) -> str:
    return re.sub(r"pid \d+", "pid …", text)


def test_every_example_has_its_proof() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROOFS)


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_example(name: str) -> None:
    lines = output_of(name).splitlines()
    for proof in PROOFS[name]:
        assert any(re.fullmatch(proof, line) for line in lines), (proof, lines)


def test_first_screen_shows_the_example_and_what_it_prints() -> None:
    code, shown = re.search(
        r"```python\n(.*?)```\n.*?```text\n(.*?)```", README, re.DOTALL
    ).groups()
    source = (EXAMPLES / "first_screen.py").read_text()
    assert source.split('"""\n\n', 1)[1] == code
    assert masked(output_of("first_screen")) == masked(shown)
    assert README.index(shown) < README.index("\n## "), "not on the first screen"


def test_tour_of_the_readme_runs(name: str) -> None:
    _, tour, _, attached = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert tour.count('"shop"') == attached.count('"shop"') == 1
    shown = "    print(version, value, matrix.sum(), squares[-1], flush=True)\n"
    source = (tour + indent(attached, "    ") + shown).replace('"shop"', repr(name))
    ran = run(source)
    assert ran.returncode == 0, ran.stderr
    version, *rest = ran.stdout.split()
    assert int(version) > 0
    assert rest == ["41.5", "1000.0", "9801"]


def test_meeting_by_name_in_the_readme_runs() -> None:
    _, _, meeting, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    ran = run(meeting)
    assert ran.returncode == 0, ran.stderr
    taken, job = ran.stdout.splitlines()
    assert re.fullmatch(r"True Holder\(pid=\d+, thread=\d+, state='R'\)", taken)
    assert job == "{'page': 7} 1"


def test_links_of_the_documents_lead_somewhere() -> None:
    documents = [Path(ROOT) / "README.md", *(Path(ROOT) / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_files_that_the_documents_name_exist() -> None:
    documents = [Path(ROOT) / "README.md", *(Path(ROOT) / "docs").rglob("*.md")]
    for document in documents:
        named = re.findall(
            r"`((?:csrc|dsm_native|tests|benches|examples|docs)/[\w./-]+\.\w+)",
            document.read_text(),
        )
        for path in named:
            assert (Path(ROOT) / path).exists() or "results/" in path, f"{document.name}: {path}"


def test_segment_format_is_that_of_the_headers(tmp_path: Path) -> None:
    """The tables name the fields; the compiler says where they are."""
    text = (Path(ROOT) / "docs/segment-format.md").read_text()
    shown, prints = [], []
    for part in re.split(r"(?=`dsm_\w+`)", text)[1:]:
        struct = re.match(r"`(\w+)`", part)[1]
        for offset, size, field in re.findall(
            r"^\| (\d+) \| (\d+) \| `(\w+)` ", part, re.MULTILINE
        ):
            shown.append(f"{struct}.{field} {offset} {size}")
            prints.append(
                f'printf("{struct}.{field} %zu %zu\\n", offsetof({struct}, {field}), '
                f"sizeof((({struct} *)0)->{field}));"
            )
    for offset, area in re.findall(r"\| ([\d,]+) \| `(\w+)` \|$", text, re.MULTILINE):
        shown.append(f"{area} {offset.replace(',', '')}")
        prints.append(f'printf("{area} %zu\\n", (size_t)layout.{area});')
    assert len(shown) > 60
    source = tmp_path / "offsets.c"
    source.write_text(
        '#include <stdio.h>\n#include "store/array.h"\n#include "store/slab.h"\n'
        '#include "mem/sync_queue.h"\n'
        "int main(void) {\n"
        "dsm_config_shm config = {.node_segment_bytes = 1 << 30, .node_count = 4,"
        ".stripe_count = 4096, .replicas = 2};\ndsm_layout layout;\n"
        "if (dsm_layout_compute(&config, &layout) != DSM_OK) return 1;\n"
        + "\n".join(prints)
        + "}\n"
    )
    core = Path(ROOT) / "csrc"
    files = [source, core / "mem/layout.c", core / "base/hash.c", core / "base/check.c"]
    program = tmp_path / "offsets"
    subprocess.run(["gcc", "-std=gnu11", f"-I{core}", *files, "-o", program], check=True)
    ran = subprocess.run([program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == shown


def test_figures_are_written_by_the_script_and_only_between_its_marks(tmp_path: Path) -> None:
    percentiles = {"p50": 0.123, "p99": 4.56, "p99.9": 7, "max": 8, "operations": 9}
    result = {
        "machine": {
            "cpu": "a processor",
            "cpus": 2,
            "memory_gib": 4.0,
            "kernel": "Linux 6",
            "python": "CPython 3",
            "date": "today",
        },
        "noise": {key: {"load_average_1min": 0.1, "steal_ticks": 1} for key in ("before", "after")},
        "quick": True,
        "rows": [],
        "absent": {"Ray object store": "not installed"},
        "raw": {"latency_us": {"dsm_native": {"get": percentiles, "put": percentiles}}},
    }
    (tmp_path / "latest.json").write_text(json.dumps(result))
    script = [sys.executable, str(Path(ROOT) / "benches/readme_table.py"), "--results", tmp_path]
    shown = subprocess.run([*script, "--print"], capture_output=True, text=True, check=True).stdout
    assert "| **dsm_native** | 0.123 / 4.56 µs | 0.123 / 4.56 µs |" in shown
    assert "| Ray object store | – | – | not measured: not installed |" in shown
    refused = subprocess.run(script, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "figures mean nothing" in refused.stderr
    assert (Path(ROOT) / "README.md").read_text() == README
    for name in re.findall(r"<!-- figures:(\w+) -->", README):
        assert f"== {name}\n" in shown
