#!/usr/bin/env python3
"""How long filo plans a run over very many keys, and how much memory that takes.

    list_bench.py PROGRAM [--keys N] [--table csv|jsonl]

A server on loopback lists N keys in pages of a thousand, as S3 does, and takes what is written. The
clock runs from the program's start to the moment at which its manifest is written: listing, layout,
shards and the plan are then done. Nothing is scored. With --table the input is a table on the disk that
names as many objects, with a label and a kept column each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
PAGE, CATEGORIES = 1000, 40
TIMEOUT_S = 600.0


def key(number: int, keys: int) -> str:
    """Keys in the order of their bytes."""
    return f"line-{number * CATEGORIES // keys:02}/2026-11-25/station-a/{number:09}.png"


def page(first: int, keys: int) -> bytes:
    last = min(first + PAGE, keys)
    found = "".join(
        f"<Contents><Key>archive/{key(n, keys)}</Key><LastModified>2026-11-25T00:00:00.000Z"
        f"</LastModified><ETag>&quot;{n:032x}&quot;</ETag><Size>{100_000 + n % 4096}</Size>"
        f"<StorageClass>STANDARD</StorageClass></Contents>"
        for n in range(first, last)
    )
    more = last < keys
    token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>many</Name>'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{found}</ListBucketResult>"
    ).encode()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, keys: int):
        super().__init__((HOST, 0), Handler)
        self.keys, self.pages, self.plan_bytes = keys, 0, 0
        self.planned = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if not query.get("prefix", [""])[0].startswith("archive"):
            return self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        self.server.pages += 1
        first = int(query.get("continuation-token", ["0"])[0])
        self.answer(200, page(first, self.server.keys))

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "/_filo/plan-" in self.path:
            self.server.plan_bytes = len(body)
        if self.path.endswith("/_filo/manifest.json"):
            self.server.planned.set()
        self.answer(200, b"", [("ETag", '"0"')])

    def do_HEAD(self):
        self.answer(404, b"")

    def answer(self, status, body, headers=()):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def write_table(path: Path, kind: str, keys: int):
    with path.open("w") as table:
        if kind == "csv":
            table.write("image,category,label,kind,serial\n")
        for n in range(keys):
            uri, category = f"s3://many/archive/{key(n, keys)}", f"part {n % CATEGORIES}"
            label, kind_of, serial = ("ng", "scratch", n) if n % 50 == 0 else ("ok", "", n)
            if kind == "csv":
                table.write(f"{uri},{category},{label},{kind_of},SN-{serial:09}\n")
            else:
                table.write(
                    f'{{"image": "{uri}", "category": "{category}", "label": "{label}", '
                    f'"kind": "{kind_of}", "serial": "SN-{serial:09}"}}\n'
                )


def peak_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--table", choices=["csv", "jsonl"])
    arguments = parser.parse_args()
    server = Server(arguments.keys)
    environment = os.environ | {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
    }
    command = [arguments.program, "score", "--output", "s3://many/out", "--input"]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as folder:
        if arguments.table:
            table = Path(folder, f"list.{arguments.table}")
            write_table(table, arguments.table, arguments.keys)
            command += [table, "--keep", "serial"]
        else:
            command += ["s3://many/archive"]
        started = time.monotonic()
        run = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        while not server.planned.wait(0.05):
            if run.poll() is not None or time.monotonic() - started > TIMEOUT_S:
                run.kill()
                said.seek(0)
                raise SystemExit(f"no plan was made:\n{said.read().decode()[-2000:]}")
        seconds, memory = time.monotonic() - started, peak_mb(run.pid)
        run.kill()
        run.wait()
    print(
        f"{arguments.keys} {f'rows of {arguments.table}' if arguments.table else f'keys in {server.pages} pages'}: planned in {seconds:.1f} s, peak {memory:.0f} MB, "
        f"plan of {server.plan_bytes / 1e6:.1f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
