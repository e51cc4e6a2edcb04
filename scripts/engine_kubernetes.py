#!/usr/bin/env python3
"""Checks pipelines/engine/kubernetes against Kubernetes' published schema and runs the command of each
file, pod by pod.

    s3_server.py PYTHON engine_kubernetes.py PROGRAM

Out comes a line per file, and exit code 1 with what is wrong. Also checks what a schema cannot: that the
program gets the number of parts that the Job has. Needs kubernetes-validate, boto3, Pillow.
"""

import copy
import datetime
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

from engine_command import NIGHT, Rehearsal

VERSION = "1.33"  # The first in which retries per index are stable.
FOLDER = Path(__file__).resolve().parent.parent / "pipelines/engine/kubernetes"


def check_parts(spec):
    """Parts, indices and retries of an Indexed Job fit together."""
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


def patched(job, operations):
    """`job` after the operations of a JSON patch: those that the files use."""
    job = copy.deepcopy(job)
    for operation in operations:
        *steps, last = operation["path"].strip("/").split("/")
        place = job
        for step in steps:
            place = place[int(step)] if isinstance(place, list) else place[step]
        last = last.replace("~1", "/")
        if operation["op"] == "add" and last == "-":
            place.append(operation["value"])
        elif operation["op"] == "add" or last in place:
            place[last] = operation["value"]
        else:
            raise SystemExit(f"{operation}: nothing to replace")
    return job


def job_of(document, name):
    """What the file makes: its Job's specification, and the name of the Job."""
    if document["kind"] == "Job":
        return document["spec"], document["metadata"]["name"]
    hour = int(document["spec"]["schedule"].split()[1])
    night = datetime.datetime.fromisoformat(NIGHT).replace(hour=hour, tzinfo=datetime.UTC)
    return document["spec"]["jobTemplate"]["spec"], f"{name}-{int(night.timestamp()) // 60}"


def pods_of(spec, job_name):
    """The variables of each pod, as Kubernetes sets them."""
    container = spec["template"]["spec"]["containers"][0]
    for index in range(spec.get("completions", 1)):
        variables = {}
        if spec.get("completionMode") == "Indexed":
            variables["JOB_COMPLETION_INDEX"] = str(index)
        for one in container.get("env", []):
            if "value" in one:
                variables[one["name"]] = one["value"]
            elif one["valueFrom"]["fieldRef"]["fieldPath"].endswith("['batch.kubernetes.io/job-name']"):
                variables[one["name"]] = job_name
            else:
                raise SystemExit(f"{one['name']}: nothing sets it")
        yield variables


def expanded(part, variables):
    """`part` with $(NAME) as Kubernetes writes it; what is no variable stays."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), part)


def rehearse(document, name, rehearsal):
    """Runs what each pod of the file would run."""
    spec, job_name = job_of(document, document["metadata"]["name"])
    container = spec["template"]["spec"]["containers"][0]
    for variables in pods_of(spec, job_name):
        command = container["command"] + container["args"]
        rehearsal.run([expanded(part, variables) for part in command], variables, name)
    rehearsal.expect_success(NIGHT, name)


def main():
    documents = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
    gpu = documents.pop("gpu.yaml")
    for name, document in list(documents.items()) + [("gpu.yaml", patched(documents["job.yaml"], gpu))]:
        try:
            kubernetes_validate.validate(document, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(step) for step in error.path)
            raise SystemExit(f"{name}: {where}: {error.message}")
        spec, _ = job_of(document, "")
        if spec.get("completionMode") == "Indexed":
            check_parts(spec)
        print(f"{name}: as Kubernetes {VERSION} has it")
    with Rehearsal(sys.argv[1]) as rehearsal:
        rehearsal.fill()
        for name in ["job.yaml", "metrics.yaml"]:
            rehearse(documents.pop(name), name, rehearsal)
            print(f"{name}: its commands end with 0")
    for name, document in documents.items():
        with Rehearsal(sys.argv[1]) as rehearsal:
            rehearsal.fill()
            rehearse(document, name, rehearsal)
            print(f"{name}: its commands end with 0")


if __name__ == "__main__":
    main()
