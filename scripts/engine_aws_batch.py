#!/usr/bin/env python3
"""Holds pipelines/engine/aws-batch against the model of the service that its clients are made from.

No input; out comes a line per file, and exit code 1 with what is wrong. Also checks what the model
does not say: keys that the service would ignore are errors here. Needs botocore, no account.
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


def unknown_keys(value, shape, place):
    """Places of keys that the shape does not have."""
    if shape.type_name == "structure":
        for key, inner in value.items():
            if key not in shape.members:
                yield f"{place}{key}"
            else:
                yield from unknown_keys(inner, shape.members[key], f"{place}{key}.")
    elif shape.type_name == "list":
        for inner in value:
            yield from unknown_keys(inner, shape.member, place)


def main():
    service = ServiceModel(Loader().load_service_model("batch", "service-2"))
    for name, operation in OPERATIONS.items():
        request = json.loads((FOLDER / name).read_text())
        shape = service.operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        wrong = [report.generate_report()] if report.has_errors() else []
        wrong += [f"{key} is unknown" for key in unknown_keys(request, shape, "")]
        if wrong:
            raise SystemExit(f"{name}: {'; '.join(wrong)}")
        print(f"{name}: as AWS Batch has {operation}")


if __name__ == "__main__":
    main()
