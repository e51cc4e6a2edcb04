#!/usr/bin/env python3
"""Checks pipelines/engine/aws-batch against the model of the service that its clients are made from,
and runs the command of each submission, child by child.

    s3_server.py PYTHON engine_aws_batch.py PROGRAM

Out comes a line per file, and exit code 1 with what is wrong: types, and keys that the service does not
know. Needs botocore, boto3, Pillow, no account. A submission for GPUs runs without its `--device cuda`.
"""

import json
import sys
from pathlib import Path

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from engine_command import NIGHT, Rehearsal

FOLDER = Path(__file__).resolve().parent.parent / "pipelines/engine/aws-batch"
OPERATIONS = {"job-definition": "RegisterJobDefinition", "submit": "SubmitJob"}
# In the order in which they run.
SUBMISSIONS = ["submit-score.json", "submit-metrics.json", "submit-score-gpu.json"]


def check(service, path):
    """Ends the script unless the service would take the file."""
    operation = next(found for start, found in OPERATIONS.items() if path.name.startswith(start))
    shape = service.operation_model(operation).input_shape
    request = json.loads(path.read_text())
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise SystemExit(f"{path.name}: {report.generate_report()}")
    print(f"{path.name}: as AWS Batch has {operation}")
    return request


def command_of(request):
    """What the container's entry point gets: `filo`, and the command with its parameters."""
    parameters = request["parameters"]
    command = request["containerOverrides"]["command"]
    command = [parameters[part[5:]] if part.startswith("Ref::") else part for part in command]
    if "--device" in command:
        place = command.index("--device")
        del command[place : place + 2]
    return ["filo", *command]


def main():
    service = ServiceModel(Loader().load_service_model("batch", "service-2"))
    requests = {path.name: check(service, path) for path in sorted(FOLDER.glob("*.json"))}
    missing = [name for name in requests if name.startswith("submit") and name not in SUBMISSIONS]
    if missing:
        raise SystemExit(f"not run: {missing}")
    with Rehearsal(sys.argv[1]) as rehearsal:
        rehearsal.fill()
        for name in SUBMISSIONS:
            size = requests[name].get("arrayProperties", {}).get("size")
            for index in range(size or 1):
                child = {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}
                rehearsal.run(command_of(requests[name]), child if size else {}, name)
            rehearsal.expect_success(NIGHT, name)
            print(f"{name}: its commands end with 0")


if __name__ == "__main__":
    main()
