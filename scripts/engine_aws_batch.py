#!/usr/bin/env python3
"""Holds pipelines/engine/aws-batch against the model of the service that its clients are made from.

No input; out comes a line per file, and exit code 1 with what is wrong: types, and keys that the
service does not know. Needs botocore, no account.
"""

import json
from pathlib import Path

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

FOLDER = Path(__file__).resolve().parent.parent / "pipelines/engine/aws-batch"
OPERATIONS = {
    "job-definition.json": "RegisterJobDefinition",
    "submit-score.json": "SubmitJob",
    "submit-metrics.json": "SubmitJob",
}


def main():
    service = ServiceModel(Loader().load_service_model("batch", "service-2"))
    for name, operation in OPERATIONS.items():
        request = json.loads((FOLDER / name).read_text())
        shape = service.operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        if report.has_errors():
            raise SystemExit(f"{name}: {report.generate_report()}")
        print(f"{name}: as AWS Batch has {operation}")


if __name__ == "__main__":
    main()
