#!/usr/bin/env python3
"""Holds pipelines/engine/kubernetes against Kubernetes' published schema.

No input; out comes a line per file, and exit code 1 with what is wrong. Also checks what a schema
cannot: that the program is told the number of parts that the Job has. Needs kubernetes-validate.
"""

from pathlib import Path

import kubernetes_validate
import yaml

VERSION = "1.33"  # The first in which retries per index are stable.
FOLDER = Path(__file__).resolve().parent.parent / "pipelines/engine/kubernetes"


def check_parts(job):
    """Parts, indices and retries of an Indexed Job fit together."""
    spec = job["spec"]
    pod = spec["template"]["spec"]
    variables = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    if variables.get("JOB_COMPLETIONS") != str(spec["completions"]):
        raise SystemExit(f"JOB_COMPLETIONS is not completions, {spec['completions']}")
    if spec["parallelism"] > spec["completions"]:
        raise SystemExit("parallelism is above completions")
    if pod["restartPolicy"] != "Never":
        raise SystemExit("podFailurePolicy and backoffLimitPerIndex need restartPolicy: Never")
    names = {one["name"] for one in pod["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        if rule.get("onExitCodes", {}).get("containerName", "filo") not in names:
            raise SystemExit("podFailurePolicy names no container of the pod")


def main():
    for path in sorted(FOLDER.glob("*.yaml")):
        job = yaml.safe_load(path.read_text())
        try:
            kubernetes_validate.validate(job, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(step) for step in error.path)
            raise SystemExit(f"{path.name}: {where}: {error.message}")
        if job["spec"].get("completionMode") == "Indexed":
            check_parts(job)
        print(f"{path.name}: as Kubernetes {VERSION} has it")


if __name__ == "__main__":
    main()
