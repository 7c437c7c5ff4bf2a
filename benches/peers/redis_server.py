"""Redis over a unix socket, started here without persistence and stopped again by its own pid."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import redis

from peers.peer import Peer, PeerAbsentError

START_SECONDS_MAX = 10.0


class RedisServer(Peer):
    note = "unix socket, no persistence, redis-py"

    def __init__(self, program: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="bench-redis-")
        socket = str(Path(self.folder) / "socket")
        options = {"port": "0", "unixsocket": socket, "save": "", "appendonly": "no"}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.server = subprocess.Popen(
            [program, *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = redis.Redis(unix_socket_path=socket)
        self.await_start()

    def await_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError as error:
                if self.server.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise PeerAbsentError(f"redis-server did not start: {error}") from error
                time.sleep(0.02)

    def load(self, keys: Iterable, value: bytes) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(key, value)
        pipeline.execute()

    def get_each(self, keys: Iterable) -> None:
        get = self.client.get
        for key in keys:
            get(key)

    def put_each(self, keys: Iterable, value: bytes) -> None:
        put = self.client.set
        for key in keys:
            put(key, value)

    def single_get(self) -> Callable:
        return self.client.get

    def single_put(self) -> Callable:
        return self.client.set

    def close(self) -> None:
        self.client.close()
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder)


def open_store() -> RedisServer:
    program = shutil.which("redis-server")
    if program is None:
        raise PeerAbsentError("there is no redis-server on the PATH")
    return RedisServer(program)
