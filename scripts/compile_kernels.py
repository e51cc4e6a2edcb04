"""What NVIDIA's compilers make of the kernels. In: the messages of cargo that name the tests' programs, on
standard input. Out: a table of registers, spilled bytes and shared memory by kernel, the most of all its
forms; status 1 if one does not compile or a device would refuse its launch."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from cuda_stand_in import environment, nvidia

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCHITECTURES = {"80": "sm_80", "90": "sm_90"}
# What the compilers of the program or the stand-in say of a kernel that is wrong.
REFUSED = re.compile(r"\[Compilation Error\]\s*(.*)|(.*no device launches.*)|(.*Unable to.*)")
USED = re.compile(r"Used (\d+) registers")
SPILLED = re.compile(r"(\d+) bytes spill stores")
STATIC = re.compile(r"(\d+) bytes smem")


def programs() -> list[str]:
    messages = (json.loads(line) for line in sys.stdin if line.startswith("{"))
    found = [message.get("executable") for message in messages if message.get("reason") == "compiler-artifact"]
    return [program for program in found if program and pathlib.Path(program).parent.name == "deps"]


def run(program: str, arch: str, folder: pathlib.Path, stand_in: dict[str, str]) -> list[str]:
    """Runs the tests of `program`, which fail where a number is looked at, and returns what was refused."""
    ptx = folder / arch / pathlib.Path(program).name
    ptx.mkdir(parents=True)
    of_run = stand_in | {"FILO_CACHE": str(ptx / "cache"), "FILO_PTX": str(ptx), "FILO_ARCH": arch}
    arguments = [program, "--ignored", "--test-threads", "1"]
    done = subprocess.run(arguments, env=of_run, cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted({"".join(groups) for groups in REFUSED.findall(done.stdout + done.stderr)})


def assembled(ptx: pathlib.Path, architecture: str) -> tuple[str, int, int, int]:
    """A kernel's name, registers, spilled bytes and bytes of shared memory."""
    ptxas = nvidia() / "cuda_nvcc" / "bin" / "ptxas"
    text = ptx.read_text()
    # NVRTC may have compiled for a variant with instructions of its own, as sm_90a.
    target = re.search(r"^\.target (sm_\w+)", text, re.MULTILINE)
    arguments = [ptxas, f"-arch={target[1] if target else architecture}", "-v", "-o", ptx.with_suffix(".cubin"), ptx]
    said = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"{ptx}: {said.stderr.strip()}")
    name = re.search(r"\.entry (\w+)", text)[1]
    first = lambda pattern: int(found[1]) if (found := pattern.search(said.stderr)) else 0
    return name, first(USED), first(SPILLED), first(STATIC)


def main() -> int:
    names, failed = programs(), False
    if not names:
        raise SystemExit("no program was built: run scripts/compile_kernels")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        stand_in = environment(folder)
        for arch, architecture in ARCHITECTURES.items():
            refused = [line for program in names for line in run(program, arch, folder, stand_in)]
            kernels: dict[str, list[tuple[int, int, int]]] = {}
            for ptx in sorted((folder / arch).glob("*/*.ptx")):
                name, *figures = assembled(ptx, architecture)
                kernels.setdefault(name, []).append(tuple(figures))
            print(f"\n{architecture}: {sum(map(len, kernels.values()))} forms of {len(kernels)} kernels\n")
            print("| kernel | forms | registers | spilled, bytes | shared memory, bytes |\n|---|---|---|---|---|")
            for name, forms in sorted(kernels.items()):
                most = " | ".join(str(max(column)) for column in zip(*forms))
                print(f"| {name} | {len(forms)} | {most} |")
            for line in refused:
                print(f"refused: {line}")
            failed = failed or bool(refused) or not kernels
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
