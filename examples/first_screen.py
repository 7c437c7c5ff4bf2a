"""The first screen of the README: a process is killed in the middle of its work, the data stay."""

import os
import signal

import dsm_native as dsm


def visit(page):  # runs in one of the node processes
    shop = dsm.current().region("shop")
    if page == 500 and shop.add("kills", 1) == 1:
        shop["killed"] = os.getpid()
        os.kill(os.getpid(), signal.SIGKILL)  # kill -9: no handler, no clean-up
    return shop.add("visits", 1)


with dsm.Cluster(nodes=4, replication_factor=2) as cluster:
    shop = cluster.region("shop")
    shop["motd"] = "open all night"
    answers = cluster.map(visit, range(1000))
    print("killed with SIGKILL: pid", shop["killed"])
    print(len(answers), "answers,", shop["visits"], "visits;", shop["motd"])
    print("problems in shared memory:", cluster.check().problems)
