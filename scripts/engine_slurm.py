#!/usr/bin/env python3
"""Holds a Slurm job array against a single process: two nodes on this machine, one of them killed.

Usage: engine_slurm.py FILO

In goes the program; out comes a line per step, and exit code 0 if metrics and tables of the array
equal those of one process in all but measured times. Needs pyarrow, root, and Slurm, which is
installed with apt-get if it is missing. Everything lies below one temporary folder.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as parquet

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
NODES = ["n1", "n2"]
TASKS = 8
TABLES = ["scores", "masks", "boxes", "partials", "failures", "metrics"]
MEASURED = {"ms_fetch", "ms_decode", "ms_infer"}

CONF = """\
ClusterName=filo
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=5
MinJobAge=600
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
{nodes}
PartitionName=batch Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def say(text):
    print(f"engine_slurm: {text}", flush=True)


def wait_until(what, seconds, done, every=0.2):
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            raise SystemExit(f"engine_slurm: {what}: not within {seconds} s")
        time.sleep(every)
    return found


def install():
    if all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch", "munged")):
        return
    if os.geteuid() != 0:
        raise SystemExit(f"engine_slurm: as root: apt-get install {' '.join(PACKAGES)}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "check": True}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", *PACKAGES], **quiet,
                   stdout=subprocess.DEVNULL)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """munged, slurmctld and two slurmd on loopback; `with` ends them and what they started."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = {}
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        folder, host = self.folder, socket.gethostname().split(".")[0]
        for name in ("munge", "state", "log", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        ports = free_ports(3)
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 Boards=1 "
            "SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=2000 State=UNKNOWN"
            for node, port in zip(NODES, ports[1:]))
        conf = CONF.format(host=host, folder=folder, ports=ports, nodes=nodes)
        (folder / "slurm.conf").write_text(conf)
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        munge = folder / "munge"
        self.daemon("munged", "--foreground", "--force", f"--key-file={key}",
                    f"--socket={munge}/socket", f"--pid-file={munge}/pid",
                    f"--seed-file={munge}/seed", f"--log-file={munge}/log")
        wait_until("munged", 10, (munge / "socket").exists)
        self.daemon("slurmctld", "-D")
        for node in NODES:
            self.daemon("slurmd", "-D", "-N", node, name=node)
        wait_until("two idle nodes", 30, lambda: self.states() == ["idle", "idle"])

    def daemon(self, *command, name=None):
        name = name or command[0]
        path = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
        with open(self.folder / f"{name}.out", "wb") as log:
            self.daemons[name] = subprocess.Popen([path, *command[1:]], env=self.env, stdout=log,
                                                  stderr=log, start_new_session=True)

    def ask(self, *command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def states(self):
        return self.ask("sinfo", "-hN", "-o", "%T").split()

    def processes(self, node=None):
        """Ids of what runs with this cluster's configuration, steps included."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        name = f"SLURMD_NODENAME={node}".encode()
        found = set()
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                environ = (proc / "environ").read_bytes().split(b"\0")
                parent = int((proc / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if ours not in environ or (node and name not in environ):
                    continue
                found.add(int(proc.name))
                if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"slurmstepd"):
                    found.add(parent)
            except (OSError, ValueError):
                continue  # It ended while it was looked at.
        return found - {os.getpid()}

    def programs(self, node, program):
        def runs(pid):
            try:
                return os.path.samefile(f"/proc/{pid}/exe", program)
            except OSError:
                return False
        return [pid for pid in self.processes(node) if runs(pid)]

    def kill_node(self, node):
        doomed = [self.daemons[node].pid, *self.processes(node)]
        for pid in doomed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.daemons.pop(node).wait()

    def __exit__(self, *_):
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def job_state(cluster, job):
    """States of a job, or of the tasks of an array."""
    lines = cluster.ask("scontrol", "-o", "show", "job", job).splitlines()
    return [field.partition("=")[2] for line in lines for field in line.split()
            if field.startswith("JobState=")]


def hurry(cluster):
    """A requeued task is held for two minutes; here it may start at once."""
    for line in cluster.ask("squeue", "-h", "-t", "PD", "-o", "%F_%K %r").splitlines():
        task, reason = line.split(maxsplit=1)
        if reason.startswith("BeginTime"):
            cluster.ask("scontrol", "update", f"JobId={task}", "StartTime=now")


def rows(output, table):
    """The rows of a table, sorted, without what was measured."""
    found = []
    for path in sorted((output / table).rglob("*.parquet")):
        data = parquet.ParquetFile(path).read()
        keep = [name for name in data.column_names if name not in MEASURED]
        found += [repr(sorted(row.items())) for row in data.select(keep).to_pylist()]
    return sorted(found)


def check(filo, folder):
    demo, one, many = folder / "demo", folder / "one", folder / "many"
    quiet = {"check": True, "capture_output": True, "text": True}
    subprocess.run([filo, "demo", "--out", demo], **quiet)
    arguments = ["--input", str(demo / "pictures"), "--layout", "mvtec", "--shard-size", "4",
                 "--batch-size", "1"]
    started = time.monotonic()
    subprocess.run([filo, "score", *arguments, "--output", one, "--progress", "never"], **quiet)
    reference = subprocess.run([filo, "metrics", "--run", one], **quiet).stdout
    whole = list((one / "_filo/ledger").iterdir())
    shards = len(whole)
    say(f"one process: {shards} shards in {time.monotonic() - started:.1f} s")

    with Cluster(folder / "slurm") as cluster:
        say("two nodes are idle")
        logs, submit = folder / "logs", ROOT / "pipelines/engine/slurm/submit"

        def send(output, tasks, *more):
            sent = subprocess.run(
                [submit, "--tasks", str(tasks), "--output", output, "--logs", logs,
                 "--sbatch=--cpus-per-task=2", "--", *more],
                check=True, stdout=subprocess.PIPE, text=True,
                env={**cluster.env, "FILO": filo, "FILO_RETRY_WAIT": "0"})
            return [line.split()[1] for line in sent.stdout.splitlines()]

        def ended(job):
            hurry(cluster)
            states = job_state(cluster, job)
            busy = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"}
            return states if states and not busy & set(states) else None

        half = folder / "half"
        subprocess.run([filo, "score", *arguments, "--output", half, "--partition", "0/2"], **quiet)
        _, metrics = send(half, 2, "--input", str(folder / "nothing-here"))
        state = wait_until("metrics of a failed array", 60, lambda: ended(metrics))
        told = (logs / f"{metrics}.log").read_text()
        there = {path.stem for path in (half / "_filo/ledger").iterdir()}
        missing = {path.stem for path in whole} - there
        named = {shard for shard in missing if shard in told}
        assert state == ["FAILED"] and f"{len(missing)} of {shards} shards" in told, (state, told)
        assert len(named) == min(8, len(missing)) > 0, told
        say(f"an array that left {len(missing)} shards out: the metrics job fails and names them")

        started = time.monotonic()
        array, metrics = send(many, TASKS, *arguments)
        ledger = many / "_filo/ledger"
        # Two shards or more are there, and a program is at work on the node that is to go.
        wait_until("a task in mid-array", 60, every=0.01, done=lambda: ledger.is_dir()
                   and len(list(ledger.iterdir())) >= 2 and cluster.programs("n1", filo))
        cluster.kill_node("n1")
        committed = len(list(ledger.iterdir()))
        assert committed < shards, "the array was over before the node was killed"
        say(f"node n1 killed, {committed} of {shards} shards committed")
        state = wait_until("the metrics job", 240, lambda: ended(metrics))
        told = (logs / f"{metrics}.log").read_text()
        assert state == ["COMPLETED"], (state, told)
        restarts = [log.name for log in logs.glob(f"{array}_*.log")
                    if "restarts: 1" in log.read_text()]
        assert restarts, "no task was started again"
        say(f"metrics after {time.monotonic() - started:.1f} s; started again: {restarts}")

        assert told.strip() == reference.strip(), f"{told}\n{reference}"
        for table in TABLES:
            expected, found = rows(one, table), rows(many, table)
            assert expected == found, f"{table}: {len(expected)} rows and {len(found)} differ"
            say(f"{table}: {len(found)} rows, the same")
        say("the array gives what one process gives")


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    filo = os.path.realpath(sys.argv[1])
    # Ends as on Ctrl-C, with everything put away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install()
    with tempfile.TemporaryDirectory(prefix="filo-slurm-") as folder:
        os.chmod(folder, 0o755)  # munged refuses a socket that others cannot reach.
        check(filo, Path(folder))


if __name__ == "__main__":
    main()
