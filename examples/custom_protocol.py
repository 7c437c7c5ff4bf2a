"""A protocol of one's own in the simulator: found wrong by a checker, explained, and mended.

A register is kept by five nodes; any three answer for it (Attiya, Bar-Noy and Dolev 1995, with
several writers). A read asks three nodes for their latest value. In the paper it then *writes that
value back* to three nodes before it answers; the hasty version leaves that out, as looks harmless.

The protocol is a class with `step` and `tick`: it is told what happens and returns what to do.
"""

from random import Random

from dsm_native.testing import (
    CLIENT,
    Conditions,
    Message,
    Operation,
    Outputs,
    Simulation,
    check_linearizable,
    random_plan,
    shortest_failure,
)

NODES, MAJORITY, SESSIONS = 5, 3, 6
FAULTS_US, END_US, SEEDS = 600_000, 900_000, 20


class Register:
    """One node. It answers for its copy, and carries out what a client asked of it."""

    write_back = True

    def __init__(self, node, durable, seed, now):
        self.node = node
        self.stamp, self.value = durable.get(("copy",), ((0, 0, 0), None))
        self.again_at = now
        self.seed = seed  # differs each time a node starts, so old answers are told from new ones
        self.asked = {}  # number -> what a client asked for, and who has answered so far
        self.seen = {key[1] for key in durable if key[0] == "seen"}

    def step(self, message, now):
        if message.kind in ("get", "put"):
            return self.asks(message)
        if message.kind == "read":
            answer = (*message.body, self.stamp, self.value)
            return Outputs(send_now=(Message(self.node, message.source, "told", answer),))
        if message.kind == "write":
            return self.store(message)
        return self.answered(message)

    def tick(self, now):
        """Messages get lost: now and then ask again whatever is not yet answered."""
        if now < self.again_at:
            return Outputs()
        self.again_at, again = now + 100_000, ()
        for number, work in self.asked.items():
            again += self.to_all("write" if "stamp" in work else "read", number)
        return Outputs(send_now=again)

    def to_all(self, kind, number):
        work = self.asked[number]
        body = (number, self.seed)
        if kind == "write":
            body += (work["stamp"], work["value"])
        return tuple(Message(self.node, node, kind, body) for node in range(NODES))

    def asks(self, message):
        """A client's request, once: a network may deliver it twice, also around a crash."""
        number, value = message.body
        if number in self.seen:
            return Outputs()
        self.seen.add(number)
        self.asked[number] = {"kind": message.kind, "value": value, "told": {}, "stored": set()}
        asking = self.to_all("read", number)
        return Outputs(persist=((("seen", number), True),), send_after_persist=asking)

    def store(self, message):
        """Keeps the newer of two copies, and says so once it is durable."""
        number, seed, stamp, value = message.body
        said = (Message(self.node, message.source, "stored", (number, seed)),)
        if stamp <= self.stamp:
            return Outputs(send_after_persist=said)
        self.stamp, self.value = stamp, value
        return Outputs(persist=((("copy",), (stamp, value)),), send_after_persist=said)

    def answered(self, message):
        number, seed, *copy = message.body
        work = self.asked.get(number)
        if work is None or seed != self.seed:
            return Outputs()  # late, or for what this node asked before it crashed
        if message.kind == "told":
            work["told"][message.source] = tuple(copy)
            return self.decide(number, work)
        work["stored"].add(message.source)
        return self.reply(number, work) if len(work["stored"]) >= MAJORITY else Outputs()

    def decide(self, number, work):
        """With three answers: the latest copy is read, or a later stamp chosen for the write."""
        if len(work["told"]) < MAJORITY or "stamp" in work:
            return Outputs()
        stamp, value = max(work["told"].values())
        if work["kind"] == "put":
            work["stamp"] = (stamp[0] + 1, self.node, number)
        else:
            work["stamp"], work["value"] = stamp, value
            if not self.write_back or value is None:
                return self.reply(number, work)
        return Outputs(send_now=self.to_all("write", number))

    def reply(self, number, work):
        del self.asked[number]
        return Outputs(send_now=(Message(self.node, CLIENT, "done", (number, work["value"])),))


class HastyRegister(Register):
    """A read answers with the latest value it was told, and writes nothing back."""

    write_back = False


class Client:
    """Six sessions, each with one operation at a time; keeps their history as plain data."""

    def __init__(self, seed):
        self.stream = Random(seed)
        self.history = {}  # number -> Operation
        self.busy = {}  # session -> number

    def tick(self, now):
        asks = []
        for session in range(SESSIONS):
            number = self.busy.get(session)
            if number is not None and now - self.history[number].invoked < 20_000:
                continue
            # An operation that was not answered in time stays open: it may yet happen.
            number = len(self.history) + 1
            kind, value = self.stream.choice((("get", None),) * 7 + (("put", number),))
            self.busy[session] = number
            name = f"{session}.{number}"  # who left an operation open goes on under a new name
            self.history[number] = Operation(name, kind, "x", value, now, None)
            asks.append(Message(CLIENT, self.stream.randrange(NODES), kind, (number, value)))
        return Outputs(send_now=tuple(asks))

    def step(self, message, now):
        number, value = message.body
        asked = self.history[number]
        if self.busy.get(int(asked.session.split(".")[0])) == number:
            found = value if asked.kind == "get" else asked.value
            self.history[number] = asked._replace(value=found, returned=now)
            del self.busy[int(asked.session.split(".")[0])]
        return Outputs()


def run(register, seed, plan, trace=None):
    """One simulated run of a seed, judged; raises the verdict when it is a bad one."""
    client = Client(seed)
    simulation = Simulation(
        register, NODES, seed=seed, plan=plan, client=client, trace=trace, tick_us=1_000,
        conditions=Conditions(drop=0.25),
    )  # fmt: skip
    simulation.run_until(END_US)
    verdict = check_linearizable(client.history.values())
    if not verdict:
        raise AssertionError(str(verdict))
    return len(client.history)


def main():
    for register in (HastyRegister, Register):
        operations = 0
        for seed in range(SEEDS):
            plan = random_plan(seed, range(NODES), FAULTS_US)
            try:
                operations += run(register, seed, plan)
            except AssertionError as found:
                print(f"{register.__name__}, seed {seed}, {found}")
                print(shorter(register, seed, plan))
                break
        else:
            print(f"{register.__name__}: {SEEDS} seeds, {operations} operations, all linearizable")


def shorter(register, seed, plan):
    """How few of a plan's faults a failing run needs; `story` would print all of its trace."""
    story = shortest_failure(lambda fewer, trace: run(register, seed, fewer, trace), plan)
    needed = story.split("trace:")[0].count(" from ")
    return f"needs {needed} of its {len(plan)} faults, since the network loses messages anyway"


if __name__ == "__main__":
    main()
