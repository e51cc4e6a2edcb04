#!/usr/bin/env python3
"""A way to a server that takes time and loses nothing: all bytes arrive so much later, at any rate.

    delay.py PORT MILLISECONDS

Prints the port that it listens on, on loopback. Half of the time is added on the way there, half on the
way back, so that a request with its answer takes MILLISECONDS longer.
"""

import asyncio
import contextlib
import subprocess
import sys

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 18


async def later(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    """Passes bytes on, each so many seconds after it came."""
    clock = asyncio.get_running_loop().time
    waiting: asyncio.Queue = asyncio.Queue()

    async def pass_on() -> None:
        while True:
            due, chunk = await waiting.get()
            await asyncio.sleep(due - clock())
            if not chunk:
                break
            sink.write(chunk)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()

    passing = asyncio.create_task(pass_on())
    try:
        while chunk := await source.read(CHUNK_BYTES):
            waiting.put_nowait((clock() + seconds, chunk))
    except OSError:
        pass
    waiting.put_nowait((clock() + seconds, b""))
    with contextlib.suppress(OSError):
        await passing


async def serve(port: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(HOST, port)
            await asyncio.gather(later(reader, back, seconds / 2), later(there, writer, seconds / 2))
            back.close()
        writer.close()

    server = await asyncio.start_server(connected, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def delayed(port: int, milliseconds: float):
    """The port of such a way, in a process of its own, for as long as the block lasts."""
    command = [sys.executable, __file__, str(port), str(milliseconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
