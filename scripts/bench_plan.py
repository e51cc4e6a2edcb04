#!/usr/bin/env python3
"""Holds `filo bench --plan` against the clock: the seconds that it tells from counted operations and
bytes and from the limits that it measures on this device, and the seconds that each stage takes.

In: options. Out: a table in Markdown, or one JSON document. Exit status 1 if all stages together are
more than 30 % off. Start it by `scripts/bench plan`.
"""

import argparse
import json
import subprocess
import sys

# Stages of the plan and the parts of `filo bench --stage picture` that measure them.
PARTS = {
    "image tower": "image-tower",
    "map heads": "map-heads",
    "text tower, one position": "text-one-position",
    "detector": "detector",
}
ALLOWED = 0.3


def bench(filo: str, arguments: list[str]) -> dict:
    """The document that `filo bench --json` prints."""
    command = [filo, "bench", "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def planned(filo: str, options: list[str], pictures: int) -> dict[str, float]:
    """Seconds of a batch of `pictures`, by stage."""
    plan = bench(filo, ["--plan", *options])
    sizes = [batch["pictures"] for batch in plan["batches"]]
    if pictures not in sizes:
        sys.exit(f"--pictures {pictures}: the plan has batches of {sizes}")
    stages = plan["batches"][sizes.index(pictures)]["stages"]
    return {stage["name"]: stage["seconds"] for stage in stages}


def measured(filo: str, options: list[str], pictures: int, part: str) -> float:
    """Seconds of a batch of `pictures` in one part."""
    stage = ["--stage", "picture", "--part", part, "--repeat", "3", "--batch-size", str(pictures)]
    (row,) = bench(filo, [*stage, *options])["rows"]
    return row["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench plan", description=__doc__)
    parser.add_argument("--filo", required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--device",
        default="cpu",
        help="as filo takes it; for a GPU FILO_BIN must name a program built with its feature "
        "[default: cpu]",
    )
    parser.add_argument("--precision", default="f32", help="as filo takes it [default: f32]")
    parser.add_argument("--pictures", type=int, default=1, help="per batch [default: 1]")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()

    options = ["--device", args.device, "--precision", args.precision]
    plan = planned(args.filo, options, args.pictures)
    took = {name: measured(args.filo, options, args.pictures, PARTS[name]) for name in plan}
    plan["all"], took["all"] = sum(plan.values()), sum(took.values())
    rows = [
        {"stage": name, "planned": seconds, "measured": took[name], "off": seconds / took[name] - 1}
        for name, seconds in plan.items()
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print("| stage | planned, s | measured, s | off |\n|---|---|---|---|")
        for row in rows:
            print("| {stage} | {planned:.3f} | {measured:.3f} | {off:+.0%} |".format(**row))
    return int(abs(rows[-1]["off"]) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
