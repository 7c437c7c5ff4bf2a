"""What the stores are asked to hold: the keys, the values and the order of the questions.

Every round asks with *new* key objects, equal but not identical to those stored, so that no store
can answer by comparing addresses and no `str` arrives with its hash already computed. The order is
shuffled before the objects are made, so consecutive questions are neighbours in the asker's memory
(as keys just parsed or received would be) and strangers in the store's.
Everything follows from a seed; nothing here measures time.
"""

import bisect
import itertools
import random
import string

KEY_COUNT = 10_000
KEY_BYTES_MIN, KEY_BYTES_MAX = 8, 16
VALUE_BYTES = 64
LARGE_BYTES = 1 << 20
BATCH = 1_000
ZIPF_EXPONENT = 0.99
WRITE_PERCENT = 5


class Population:
    """A set of distinct ASCII keys, handed out as fresh `str` or `bytes` objects."""

    def __init__(self, count: int = KEY_COUNT, seed: int = 20) -> None:
        self.random = random.Random(seed)
        alphabet = string.ascii_letters + string.digits
        names: set[str] = set()
        while len(names) < count:
            length = self.random.randint(KEY_BYTES_MIN, KEY_BYTES_MAX)
            names.add("".join(self.random.choices(alphabet, k=length)))
        self.texts = sorted(names)
        self.encoded = [text.encode() for text in self.texts]

    def shuffled(self, count: int | None = None) -> list[int]:
        """Positions in a new random order: all of them, or the first `count`."""
        order = list(range(len(self.texts)))
        self.random.shuffle(order)
        return order[:count]

    def fresh(self, order: list[int], kind: type = str) -> list:
        """New key objects in this order; decoding or encoding always makes a new object."""
        if kind is bytes:
            return [self.texts[i].encode() for i in order]
        return [self.encoded[i].decode() for i in order]

    def zipf_order(self, count: int) -> list[int]:
        """Positions drawn with Zipf's law, the ranks scattered over the population."""
        weights = (1.0 / rank**ZIPF_EXPONENT for rank in range(1, len(self.texts) + 1))
        cumulative = list(itertools.accumulate(weights))
        by_rank = list(range(len(self.texts)))
        random.Random(len(by_rank)).shuffle(by_rank)
        draw = self.random.random
        return [
            by_rank[bisect.bisect_left(cumulative, draw() * cumulative[-1])] for _ in range(count)
        ]


def value_of(size_bytes: int = VALUE_BYTES, seed: int = 1) -> bytes:
    """Bytes that neither compress nor repeat."""
    return random.Random(seed).randbytes(size_bytes)


def batches(keys: list, size: int = BATCH) -> list[list]:
    """The same keys, cut into lists of `size`."""
    return [keys[i : i + size] for i in range(0, len(keys), size)]
