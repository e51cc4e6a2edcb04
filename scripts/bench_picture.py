#!/usr/bin/env python3
"""Measures what one picture costs, time by stage and peak memory: filo beside PyTorch, on CPU.

In: options; weights and picture are random. Out: tables in Markdown, or one JSON document. Each
side runs in a process of its own, in turn with the others, and holds FiLo and the detector; the
program maps a bundle of the published size, which is made once. Never here: how good the maps are.
Start it by `scripts/bench picture`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import child
from child import count_cores

if TYPE_CHECKING:
    from published_filo import Published, Size

# PyTorch is imported in children only: the peak of this process would be that of each child.

FILO, PUBLISHED, SAVED = "filo", "published", "saved"
PEAK, CHECK = "peak", "check"
SEED = 518
PUBLISHED_SIDE, PATCH = 518, 14
# The two ways to compute may differ by this much, in values of order 1 … 10.
TOLERANCE = 1e-4
# The one position of a picture whose position is known: the centre.
CENTRE = 4
MATRIX_SIDE, MATRIX_RUNS = 2048, 5

IMAGE, HEADS, MAP = "image tower", "map heads", "map"
TEXT_ALL, TEXT_ONE = "text tower, all positions", "text tower, one position"
DETECTOR = "detector"
ALL, ONE = "without detector, all positions", "without detector, one position"
WHOLE = "whole picture"
STAGES = [IMAGE, HEADS, TEXT_ALL, TEXT_ONE, MAP, DETECTOR, ALL, ONE, WHOLE]
# What the program calls them; its other rows are those of the same name, where it has them.
FILO_ROWS = {"all": ALL, "all, one position": ONE, "all, with detector": WHOLE}
# Tokens of the caption of category bottle, with [CLS], [SEP] and eleven full stops.
CAPTION_TOKENS, FULL_STOP, EVERY = 47, 1012, 4


@dataclass
class Run:
    """One run of one side; FLOPs where they are known, the score and a sample of the map where the
    side tells them."""

    seconds: dict[str, float]
    flops: dict[str, float]
    sample: list[float] | None = None
    peak_mib: float = 0.0


def seconds_of(work: Callable) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def set_threads() -> None:
    import torch

    torch.set_num_threads(count_cores())
    torch.set_grad_enabled(False)


def pick_size(arguments: argparse.Namespace) -> "Size":
    from published_filo import TINY, Size

    return TINY if arguments.tiny else Size(side=arguments.side)


def measure_side(name: str, size: "Size") -> Run:
    """In this process: a picture that is not counted, then one that is, stage by stage."""
    import torch
    from published_filo import Published, Saved, bottle_prompts, random_weights
    from published_filo import heads_flops, image_flops, text_flops

    kind = {PUBLISHED: Published, SAVED: Saved}[name]
    net = kind(random_weights(size, SEED, kind.merged), size)
    generator = torch.Generator().manual_seed(SEED)
    prompts = bottle_prompts(size, generator)
    picture = torch.randn(1, 3, size.side, size.side, generator=generator)

    def one_picture() -> tuple[dict[str, float], list[float]]:
        seconds = {}
        started = time.perf_counter()
        seconds[IMAGE], (feature, tokens) = seconds_of(lambda: net.image(picture))
        seconds[HEADS], heads = seconds_of(lambda: net.heads(tokens))
        seconds[TEXT_ALL], text = seconds_of(lambda: net.text(feature, prompts, []))
        similarities = net.similarities(heads, text)
        seconds[MAP], anomaly_map = seconds_of(lambda: net.map(similarities))
        score = net.score(feature, text, anomaly_map)
        seconds[ALL] = time.perf_counter() - started

        # As published, all positions are encoded though one is known.
        seconds[TEXT_ONE] = seconds[TEXT_ALL]
        if kind.merged:
            seconds[TEXT_ONE], _ = seconds_of(lambda: net.text(feature, prompts, [CENTRE]))
        seconds[ONE] = seconds[ALL] - seconds[TEXT_ALL] + seconds[TEXT_ONE]
        step = size.side // 9
        return seconds, [score, *anomaly_map[::step, ::step].flatten().tolist()]

    detect = detector(text_once=kind.merged) if size.side == PUBLISHED_SIDE else None
    one_picture()
    seconds, sample = one_picture()
    if detect:
        detect()
        seconds[DETECTOR], _ = seconds_of(detect)
        # Nine times too many prompts are encoded as published, though the detector has run.
        seconds[WHOLE] = seconds[DETECTOR] + seconds[ONE]
    flops = {
        IMAGE: image_flops(size, all_projected=not kind.merged),
        HEADS: heads_flops(size, kind.merged),
        TEXT_ALL: text_flops(size, prompts, [], cut=kind.merged),
        TEXT_ONE: text_flops(size, prompts, [CENTRE], cut=kind.merged),
    }
    return Run(seconds, add_wholes(flops), sample)


def detector(text_once: bool) -> Callable:
    """One picture through Grounding DINO; its caption is read with it, or once for all."""
    import torch
    from make_full_size import grounding_model

    net = grounding_model()
    ids = torch.randint(2000, 20000, (1, CAPTION_TOKENS))
    ids[0, EVERY::EVERY], ids[0, 0], ids[0, -1] = FULL_STOP, 101, 102
    given = {
        "pixel_values": torch.randn(1, 3, PUBLISHED_SIDE, PUBLISHED_SIDE),
        "pixel_mask": torch.ones(1, PUBLISHED_SIDE, PUBLISHED_SIDE, dtype=torch.long),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }
    if text_once:
        read, language = {}, net.model.text_backbone.forward

        def remembered(*arguments: object, **named: object) -> object:
            if not read:
                read["caption"] = language(*arguments, **named)
            return read["caption"]

        net.model.text_backbone.forward = remembered
    return lambda: net(**given).pred_boxes


def add_wholes(flops: dict[str, float]) -> dict[str, float]:
    """The other stages are beneath notice."""
    for whole, text in ((ALL, TEXT_ALL), (ONE, TEXT_ONE)):
        if text in flops:
            flops[whole] = flops[IMAGE] + flops[HEADS] + flops[text]
    return flops


def measure_peak() -> float:
    """FLOP/s of PyTorch's matrix product, in this process."""
    import torch

    a, b = torch.randn(2, MATRIX_SIDE, MATRIX_SIDE)
    a @ b
    return 2 * MATRIX_SIDE**3 / min(seconds_of(lambda: a @ b)[0] for _ in range(MATRIX_RUNS))


def check() -> dict[str, float]:
    """Greatest differences between the two ways, by what they compute, on a tiny network."""
    import torch
    from published_filo import TINY, Published, Saved, bottle_prompts, random_weights

    generator = torch.Generator().manual_seed(SEED)
    prompts = bottle_prompts(TINY, generator)
    picture = torch.randn(1, 3, TINY.side, TINY.side, generator=generator)

    def everything(kind: type["Published"]) -> dict[str, list]:
        net = kind(random_weights(TINY, SEED, kind.merged), TINY)
        feature, tokens = net.image(picture)
        heads = net.heads(tokens)
        found = {"feature": [feature], "tokens": tokens, "heads": heads}
        for name, positions in (("all positions", []), ("one position", [CENTRE])):
            text = net.text(feature, prompts, positions)
            similarities = net.similarities(heads, text)
            anomaly_map = net.map(similarities)
            score = torch.tensor(net.score(feature, text, anomaly_map))
            found[f"prompts, {name}"] = list(net.encode_all(feature, prompts, positions))
            found[f"similarities, {name}"] = similarities
            found[f"map and score, {name}"] = [anomaly_map, score]
        return found

    published, saved = everything(Published), everything(Saved)
    return {
        name: max(float((a - b).abs().max()) for a, b in zip(published[name], saved[name]))
        for name in published
    }


def run(command: list[str]) -> tuple[str, float]:
    """Its output and the peak of its memory in MiB; it has one thread per core."""
    threads = str(count_cores())
    ended = child.run(command, RAYON_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    return ended.output, ended.peak_mib


def random_bundle(program: Path) -> Path:
    """Random weights of the published size as a bundle, made if there is none yet: 3.1 GB."""
    # Beside the virtual environment.
    bundle = Path(sys.prefix).parent / "full-size"
    if not bundle.is_dir():
        with tempfile.TemporaryDirectory(dir=bundle.parent) as folder:
            maker = Path(__file__).with_name("make_full_size.py")
            run([sys.executable, str(maker), folder])
            checkpoints = [f"--from={file}" for file in sorted(Path(folder).glob("*.pth"))]
            run([str(program), "weights", "convert", *checkpoints, "--to", str(bundle)])
    return bundle


def run_filo(program: Path) -> Run:
    """What the program says of itself; it does as `saved` does, and its prompts share tokens."""
    command = [str(program), "bench", "--stage", "picture", "--repeat", "1", "--json"]
    command += ["--weights", str(random_bundle(program))]
    output, peak_mib = run(command)
    rows = json.loads(output)["rows"]
    named = {FILO_ROWS.get(row["name"], row["name"]): row for row in rows}
    seconds = {stage: named[stage]["seconds"] for stage in STAGES if stage in named}
    tokens = {stage: named[stage]["tokens"] for stage in (TEXT_ALL, TEXT_ONE) if stage in named}
    return Run(seconds, filo_flops(tokens), peak_mib=peak_mib)


def filo_flops(text_tokens: dict[str, int]) -> dict[str, float]:
    said, _ = run([*this_script(), "--child", FILO, "--tokens", json.dumps(text_tokens)])
    return json.loads(said)


def say_filo_flops(tokens: dict[str, int], size: "Size") -> dict[str, float]:
    """In a child, as all that imports PyTorch. Attention is left out: it is little in short
    prompts, and how much depends on the tokens they share."""
    from published_filo import heads_flops, image_flops

    per_token = 24 * size.text_width**2 * size.text_blocks
    flops = {
        IMAGE: image_flops(size, all_projected=False),
        HEADS: heads_flops(size, merged=True),
        **{stage: per_token * count for stage, count in tokens.items()},
    }
    return add_wholes(flops)


def this_script() -> list[str]:
    return [sys.executable, __file__]


def fastest(runs: list[Run]) -> Run:
    """The least of each stage; memory hardly differs, its middle counts."""
    seconds = {stage: min(run.seconds[stage] for run in runs) for stage in runs[0].seconds}
    peak_mib = statistics.median(run.peak_mib for run in runs)
    return Run(seconds, runs[0].flops, runs[0].sample, peak_mib)


def print_table(cells: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [cells[0], ["-" * width for width in widths], *cells[1:]]
    for line in lines:
        print(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths))} |")


def print_times(sides: dict[str, Run]) -> None:
    ratios = [name for name in sides if name != FILO] if FILO in sides else []
    units = [f"{name}, s" for name in sides]
    cells = [["stage", *units, *(f"{name} / filo" for name in ratios)]]

    def show(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    def add(title: str, values: dict[str, float | None], form: str) -> None:
        filo = values.get(FILO)
        shares = [values[name] / filo if filo and values[name] else None for name in ratios]
        shown = [show(value, form) for value in values.values()]
        cells.append([title, *shown, *(show(share, ".2f") for share in shares)])

    for stage in STAGES:
        add(stage, {name: side.seconds.get(stage) for name, side in sides.items()}, ".3f")
    add("peak MiB", {name: side.peak_mib for name, side in sides.items()}, ".0f")
    print_table(cells)


def print_shares(sides: dict[str, Run], peak: float) -> None:
    """What part of the machine each side makes use of."""
    cells = [["stage", *(f"{name}, GFLOP: share of peak" for name in sides)]]
    for stage in STAGES:
        line = [stage]
        for side in sides.values():
            flops, seconds = side.flops.get(stage), side.seconds.get(stage)
            known = flops is not None and seconds is not None
            line.append(f"{flops / 1e9:.1f}: {flops / seconds / peak:.0%}" if known else "–")
        if any(cell != "–" for cell in line[1:]):
            cells.append(line)
    print_table(cells)


def check_first() -> None:
    differences = json.loads(run([*this_script(), "--child", CHECK])[0])
    for name, difference in differences.items():
        # Also where it is not a number.
        if not difference < TOLERANCE:
            raise SystemExit(f"published and saved differ by {difference:.1e}: {name}")
    worst = max(differences.values())
    print(f"tiny network: published and saved differ by at most {worst:.1e}", file=sys.stderr)


def bench(arguments: argparse.Namespace) -> None:
    check_first()
    size = ["--side", str(arguments.side), *(["--tiny"] if arguments.tiny else [])]
    names = [PUBLISHED, SAVED] if arguments.without_filo else [FILO, PUBLISHED, SAVED]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    loads, peaks = [os.getloadavg()[0]], []
    for turn in range(arguments.repeat):
        for name in names:
            # Beside each run, so that a busy machine shows.
            peaks.append(float(run([*this_script(), "--child", PEAK])[0]))
            print(f"{name}: run {turn + 1} of {arguments.repeat}", file=sys.stderr)
            if name == FILO:
                runs[name].append(run_filo(arguments.filo))
            else:
                output, peak_mib = run([*this_script(), *size, "--child", name])
                runs[name].append(Run(**json.loads(output) | {"peak_mib": peak_mib}))
            loads.append(os.getloadavg()[0])

    sides = {name: fastest(of_one) for name, of_one in runs.items()}
    pairs = zip(sides[PUBLISHED].sample, sides[SAVED].sample)
    difference = max(abs(a - b) for a, b in pairs)
    side = "tiny" if arguments.tiny else arguments.side
    if arguments.json:
        document = {
            "side": side,
            "cores": count_cores(),
            "loads": loads,
            "peak_gflops": [peak / 1e9 for peak in peaks],
            "difference": difference,
            "sides": {name: asdict(one) for name, one in sides.items()},
            "runs": {name: [one.seconds for one in of_one] for name, of_one in runs.items()},
        }
        print(json.dumps(document, indent=2))
        return
    load = f"{min(loads):.1f} … {max(loads):.1f}"
    print(
        f"One picture, side {side}, prompts of category bottle, random weights, f32; "
        f"{count_cores()} cores, load {load}, the fastest of {arguments.repeat}. Score and "
        f"map of published and saved differ by at most {difference:.1e}.\n"
    )
    print_times(sides)
    print(
        f"\nPeak of PyTorch's matrix product, {MATRIX_SIDE} × {MATRIX_SIDE}, before each run: "
        f"{min(peaks) / 1e9:.0f} … {max(peaks) / 1e9:.0f} GFLOP/s. Shares are of the greatest.\n"
    )
    print_shares(sides, max(peaks))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench picture", description=__doc__.split("\n")[0]
    )
    children = [FILO, PUBLISHED, SAVED, PEAK, CHECK]
    parser.add_argument("--filo", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=children, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=json.loads, default={}, help=argparse.SUPPRESS)
    parser.add_argument(
        "--side", type=int, default=PUBLISHED_SIDE, help="of the picture [default: %(default)s]"
    )
    parser.add_argument(
        "--repeat", type=int, default=2, metavar="N", help="runs of each [default: %(default)s]"
    )
    parser.add_argument("--without-filo", action="store_true", help="measure PyTorch only")
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny network, to test this script; without filo"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.repeat < 1:
        parser.error("--repeat must be at least 1")
    if arguments.side < 2 * PATCH or arguments.side % PATCH:
        parser.error(f"--side must be a multiple of {PATCH}, at least {2 * PATCH}")
    arguments.without_filo |= arguments.tiny
    if not arguments.without_filo and not arguments.child:
        if arguments.side != PUBLISHED_SIDE:
            parser.error(f"filo measures side {PUBLISHED_SIDE} only: add --without-filo")
        if not arguments.filo:
            parser.error("--filo PROGRAM or --without-filo is needed")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.child is None:
        bench(arguments)
        return
    set_threads()
    if arguments.child == PEAK:
        print(measure_peak())
    elif arguments.child == CHECK:
        print(json.dumps(check()))
    elif arguments.child == FILO:
        print(json.dumps(say_filo_flops(arguments.tokens, pick_size(arguments))))
    else:
        print(json.dumps(asdict(measure_side(arguments.child, pick_size(arguments)))))


if __name__ == "__main__":
    main()
