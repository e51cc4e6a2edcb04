#!/usr/bin/env python3
"""How long filo plans a run over very many keys, and how much memory that takes.

    list_bench.py PROGRAM [--keys N] [--table csv|jsonl | --scored N [--runs R]]

A server on loopback lists N keys in pages of a thousand, as S3 does, and takes what is written. The
clock runs from the program's start to the moment at which its manifest is written: listing, layout,
shards and the plan are then done. Nothing is scored. With --table the input is a table on the disk that
names as many objects, with a label and a kept column each.

With --scored, R earlier runs have scored N keys, and the run that is measured plans the others by
--skip-scored: the program has planned the earlier runs, and their manifests are then completed here as if
all of their images had a score.
"""

import argparse
import hashlib
import json
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
OF_ALL = [("ETag", '"0"'), ("Last-Modified", "Wed, 25 Nov 2026 00:00:00 GMT")]
TIMEOUT_S = 600.0


def key(number: int, keys: int) -> str:
    """Keys in the order of their bytes."""
    return f"line-{number * CATEGORIES // keys:02}/2026-11-25/station-a/{number:09}.png"


def etag(number: int) -> str:
    """Digits that do not shrink, as those of a bucket."""
    return hashlib.md5(str(number).encode()).hexdigest()


def page(first: int, end: int, keys: int) -> bytes:
    last = min(first + PAGE, end)
    found = "".join(
        f"<Contents><Key>archive/{key(n, keys)}</Key><LastModified>2026-11-25T00:00:00.000Z"
        f"</LastModified><ETag>&quot;{etag(n)}&quot;</ETag><Size>{100_000 + n % 4096}</Size>"
        f"<StorageClass>STANDARD</StorageClass></Contents>"
        for n in range(first, last)
    )
    more = last < end
    token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>many</Name>'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{found}</ListBucketResult>"
    ).encode()


def listing_of(files: dict, prefix: str, folders: bool) -> bytes:
    """The names of what was written, or of the folders directly below the prefix."""
    below = [path.removeprefix("/many/") for path in list(files)]
    below = [path for path in below if path.startswith(prefix)]
    if folders:
        names = sorted({path.removeprefix(prefix).split("/")[0] for path in below if "/" in path[len(prefix) :]})
        found = "".join(f"<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>" for name in names)
    else:
        found = "".join(
            f"<Contents><Key>{path}</Key><LastModified>2026-11-25T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;0&quot;</ETag><Size>1</Size></Contents>"
            for path in below
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>many</Name>'
        f"<IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    ).encode()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, keys: int):
        super().__init__((HOST, 0), Handler)
        # Those that are listed, of how many there are.
        self.first, self.last, self.keys = 0, keys, keys
        self.pages, self.plan_bytes = 0, 0
        # What was written for later runs to read.
        self.files, self.spec = {}, {}
        self.planned = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


    def handle_error(self, *_):
        """A program that has been ended answers no more."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            found = self.server.files.get(self.path)
            if found is None:
                return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return self.answer(200, found, OF_ALL)
        prefix = query.get("prefix", [""])[0]
        if not prefix.startswith("archive"):
            return self.answer(200, listing_of(self.server.files, prefix, "delimiter" in query))
        self.server.pages += 1
        first = int(query.get("continuation-token", [self.server.first])[0])
        self.answer(200, page(first, self.server.last, self.server.keys))

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/many/scores/"):
            self.server.files[self.path] = body
        if "/_filo/plan-" in self.path:
            self.server.plan_bytes = len(body)
        if self.path.endswith("/_filo/manifest.json"):
            self.server.spec = json.loads(body)["spec"]
            self.server.planned.set()
        self.answer(200, b"", [("ETag", '"0"')])

    def do_HEAD(self):
        found = self.path in self.server.files
        self.answer(200 if found else 404, b"", OF_ALL if found else ())

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


def plan(server: Server, command: list, environment: dict) -> tuple[float, float]:
    """Seconds until the program has a plan, and megabytes that it took; then ends it."""
    server.planned.clear()
    with tempfile.TemporaryFile() as said:
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
        return seconds, memory


def score_earlier(server: Server, program: str, environment: dict, scored: int, runs: int):
    """Earlier runs as their nights would have left them, had they had no failures and no references."""
    for night in range(runs):
        server.first, server.last = scored * night // runs, scored * (night + 1) // runs
        output = f"scores/night-{night:04}"
        day = f"2026-{1 + night // 28 % 12:02}-{1 + night % 28:02}"
        plan(server, [program, "score", "--input", "s3://many/archive", "--run-date", day,
                      "--output", f"s3://many/{output}"], environment)
        path = f"/many/{output}/_filo/manifest.json"
        manifest = json.loads(server.files[path])
        images = server.last - server.first
        manifest["totals"] = {"shards": len(manifest["shards"]), "entries": images,
                              "rows": {"scores": {"all": images}}}
        server.files[path] = json.dumps(manifest).encode()
        server.files[f"/many/{output}/_SUCCESS"] = b""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--table", choices=["csv", "jsonl"])
    parser.add_argument("--scored", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    server = Server(arguments.keys)
    environment = os.environ | {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
    }
    what = f"{arguments.keys} keys"
    command = [arguments.program, "score", "--output", "s3://many/out", "--input"]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.table:
            table = Path(folder, f"list.{arguments.table}")
            write_table(table, arguments.table, arguments.keys)
            command += [table, "--keep", "serial"]
            what = f"{arguments.keys} rows of {arguments.table}"
        else:
            command += ["s3://many/archive"]
        if arguments.scored:
            score_earlier(server, arguments.program, environment, arguments.scored, arguments.runs)
            command += ["--skip-scored", "s3://many/scores"]
            what += f", {arguments.scored} of them scored by {arguments.runs} runs"
        server.first, server.last, server.pages = 0, arguments.keys, 0
        seconds, memory = plan(server, command, environment)
    if arguments.scored and server.spec["skip_scored"]["images"] != arguments.scored:
        raise SystemExit(f"not all were left out: {server.spec['skip_scored']}")
    if not arguments.table:
        what += f", in {server.pages} pages"
    print(
        f"{what}: planned in {seconds:.1f} s, peak {memory:.0f} MB, "
        f"plan of {server.plan_bytes / 1e6:.1f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
