"""Workers transfer money between accounts in transactions; one is killed, and no money is lost."""

import os
import random
import signal

import dsm_native as dsm

ACCOUNTS, EACH, TRANSFERS = 20, 100, 2_000


def transfer(seed):
    cluster = dsm.current()
    accounts, journal = cluster.region("accounts"), cluster.region("journal")
    draw = random.Random(seed)
    for number in range(TRANSFERS // 4):
        payer, payee = draw.sample(range(ACCOUNTS), 2)
        amount = draw.randrange(1, 20)

        def move(tx, payer=payer, payee=payee, amount=amount, name=(seed, number)):
            noted = tx.region(journal)
            if name in noted or tx[payer] < amount:
                return False  # done before the worker was killed, or not enough money
            tx[payer] -= amount
            tx[payee] += amount
            noted[name] = amount
            return True

        accounts.transact(move, retries=10_000)
        if seed == 2 and number == 200 and cluster.default.add("kills", 1) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return seed


def main():
    with dsm.Cluster(nodes=4, replication_factor=2) as cluster:
        accounts, journal = cluster.region("accounts"), cluster.region("journal")
        accounts.update(dict.fromkeys(range(ACCOUNTS), EACH))
        cluster.map(transfer, range(4))  # what the killed worker was doing runs again elsewhere
        with accounts.transaction() as tx:
            balances = [tx[number] for number in range(ACCOUNTS)]
        print("workers killed:", sum(node.state == "dead" for node in cluster.nodes))
        print(f"{len(journal)} transfers; lowest balance is negative: {min(balances) < 0}")
        print(f"sum of all accounts: {sum(balances)}, expected {ACCOUNTS * EACH}")
        print("problems in shared memory:", cluster.check().problems)


if __name__ == "__main__":
    main()
