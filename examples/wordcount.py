"""Counts the words of many files on the nodes, and compares with one process doing it alone.

A task puts the counts of its file under (word, file): the same key and value however often the
task runs, so it may be killed and repeated. The totals are derived from these afterwards.
"""

import os
import re
import sysconfig
from collections import Counter

import dsm_native as dsm


def words(path):
    with open(path, encoding="utf-8") as file:
        return Counter(re.findall(r"[a-z]{4,}", file.read().lower()))


def count_file(path):
    counts = words(path)
    dsm.current().region("counts").put_many({(word, path): n for word, n in counts.items()})
    return len(counts)


def main():
    folder = os.path.join(sysconfig.get_paths()["stdlib"], "email")
    paths = sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".py"))
    with dsm.Cluster(nodes=4, replication_factor=2) as cluster:
        cluster.map(count_file, paths)
        totals = Counter()
        for (word, _path), count in cluster.region("counts").items():
            totals[word] += count
    print("most frequent:", *(f"{word} {count}" for word, count in totals.most_common(5)))
    alone = sum(map(words, paths), Counter())
    print(f"{len(paths)} files; the same as counted by one process: {totals == alone}")


if __name__ == "__main__":
    main()
