"""Runs a program and measures what it took, itself and without its neighbours."""

import os
import subprocess
import time
from dataclasses import dataclass


@dataclass
class Ended:
    """What a program wrote to stdout, and what it took: wall time and CPU time in seconds, and the
    peak of its memory in MiB."""

    output: str
    wall_s: float
    cpu_s: float
    peak_mib: float


def run(command: list[str], **environment: str) -> Ended:
    """Runs `command` with `environment` on top; what it says on stderr is passed through."""
    started = time.perf_counter()
    try:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
    except OSError as error:
        raise SystemExit(f"{command[0]} cannot be started ({error})") from error
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {child.returncode}")
    return Ended(output, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def count_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
