"""`jepa bag-eval`: what a world model would have predicted and planned on recorded bags."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from jepa_common.whole_files import write_whole
from jepa_tools.bag_eval.combining import combined_results
from jepa_tools.bag_eval.compare import compare_files
from jepa_tools.bag_eval.config import BagEvalConfig
from jepa_tools.bag_eval.evaluate import EvaluatedBag, evaluate_bag, inputs_hash
from jepa_tools.bag_eval.part_store import PartStore
from jepa_tools.bag_eval.report import write_report
from jepa_tools.bag_eval.results import FORMAT, BagResult, EvaluationResult, to_json
from jepa_tools.bag_eval.tables import format_bags
from jepa_tools.bags import BagError, find_bags, load_settings
from jepa_tools.bags.bag_file import bag_hash
from jepa_world_model.checkpoint import DECODER, PARTS
from jepa_world_model.picture_decoder import weights_digest
from jepa_world_model.world_model import WorldModel

REPORT_FILE = "report.html"


def bag_eval(config: BagEvalConfig) -> int:
    """Evaluates the bags, or compares two evaluations; the exit code is 0 when all bags could be evaluated."""
    if config.compare is not None:
        print(compare_files(*config.compare))
        return 0
    paths = find_bags(config.bags)
    torch.set_num_threads(config.threads)
    model = WorldModel.load(config.model, config.device, config.dtype, (*PARTS, DECODER))
    model = model.measured_by(config.distance)
    store = PartStore(_parts_folder(config))
    evaluated = evaluate_bags(paths, model, config, store)
    result = summarize(evaluated, model.card.model_id, config.evaluation.seed, model.card.distance)
    if config.json is not None:
        write_whole(config.json, to_json(result))
    if config.report is not None:
        print(write_report(config.report / REPORT_FILE, result, evaluated))
    store.clear()
    print(format_bags(result))
    return int(any(bag.error for bag in result.bags))


def _parts_folder(config: BagEvalConfig) -> Path | None:
    """Beside the output; without any output there is nothing to go on with."""
    output = config.json or (config.report and config.report / REPORT_FILE)
    return None if output is None else output.parent / f".{output.name}.parts"


def evaluate_bags(
    paths: Sequence[Path], model: WorldModel, config: BagEvalConfig, store: PartStore
) -> list[EvaluatedBag]:
    """Evaluates each bag, or takes what an interrupted evaluation kept; a bag that cannot be used is noted."""
    settings, evaluated = load_settings(config.settings), []
    # Pictures depend on the decoder, which counts neither in the numbers nor in the model's version.
    drawn_by = "" if model.decoder is None else weights_digest(model.decoder)
    arithmetic = f"{config.device} {config.dtype} {config.threads} {model.card.distance}"
    bar = tqdm(paths, desc="bags", unit="bag", disable=None)
    for path in bar:
        bar.set_postfix_str(path.name)
        try:
            inputs = inputs_hash(bag_hash(path), repr(model.card), config.evaluation, settings, arithmetic)
            part = store.load(inputs + drawn_by)
            if part is None:
                part = evaluate_bag(path, model, settings, config.evaluation, inputs, _FrameCount(bar, path))
                store.save(inputs + drawn_by, part)
            # The same recording may lie under two names.
            part = replace(part, result=replace(part.result, bag=path.name))
        except BagError as error:
            print(error, file=sys.stderr)
            part = EvaluatedBag(BagResult(bag=path.name, inputs_hash="", error=str(error)))
        evaluated.append(part)
    return evaluated


class _FrameCount:
    """Shows how far a bag is, beside the count of bags."""

    def __init__(self, bar: tqdm, path: Path) -> None:
        self._bar, self._path = bar, path

    def __call__(self, done: int, total: int) -> None:
        self._bar.set_postfix_str(f"{self._path.name}: {done}/{total} frames")


def summarize(evaluated: Sequence[EvaluatedBag], model: str, seed: int, distance: str = "") -> EvaluationResult:
    """All bags' numbers, and those of all together."""
    bags = tuple(item.result for item in evaluated)
    together = hashlib.sha256("\n".join(bag.inputs_hash or bag.error for bag in bags).encode()).hexdigest()
    total = combined_results(bags, together)
    return EvaluationResult(FORMAT, model, seed, together, total, bags, distance)
