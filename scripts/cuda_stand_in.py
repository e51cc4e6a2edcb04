"""Runs a command on a stand-in for NVIDIA's driver, with NVIDIA's own compiler: `cuda_stand_in.py COMMAND…`."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent / "cuda_stand_in.c"


def nvidia() -> pathlib.Path:
    """Where the packages of NVIDIA are."""
    import nvidia

    return pathlib.Path(next(iter(nvidia.__path__)))


def environment(folder: pathlib.Path) -> dict[str, str]:
    """Builds the stand-in in `folder`, and returns the environment of programs that are to run on it."""
    # Not as libcuda.so.1: NVRTC would take it for the real one.
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", folder / "libcuda.so", SOURCE]
    subprocess.run(command, check=True)
    for package in ["cuda_runtime", "cuda_nvcc"]:
        shutil.copytree(nvidia() / package / "include", folder / "include", dirs_exist_ok=True)
    libraries = [str(folder), str(nvidia() / "cuda_nvrtc" / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, libraries)), "CUDA_PATH": str(folder)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(subprocess.run(sys.argv[1:], env=environment(pathlib.Path(temporary)), check=False).returncode)
