"""Evaluations as text."""

from __future__ import annotations

from jepa_tools.bag_eval.results import BagResult, EvaluationResult, Number, PredictionResult

IGNORES_ACTIONS = 1.02
"""A model whose error grows by less than this factor with other moments' actions makes no use of actions."""

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("prediction", "error", "1-step L1"),
    ("prediction", "copy_error", "copy"),
    ("prediction", "shuffled_ratio", "shuffled x"),
    ("own_prediction", "error", "1-step own"),
    ("own_prediction", "copy_error", "copy own"),
    ("own_prediction", "shuffled_ratio", "shuff. own"),
    ("energy", "rank_correlation_end", "rank corr."),
    ("energy", "cm_per_energy", "cm/energy"),
    ("planning", "position_error_cm", "plan, cm"),
    ("planning", "still_error_cm", "still, cm"),
    ("planning", "direction_error_deg", "angle, deg"),
    ("planning", "gripper_agreement", "gripper"),
    ("planning", "score", "score"),
    ("novelty", "mean", "surprise"),
)
"""(part of a result, its number, heading); of numbers by horizon the first is shown."""


def value_of(bag: BagResult, part: str, name: str) -> Number:
    """A number of a result; None where it could not be measured."""
    section = getattr(bag, part)
    value = None if section is None else getattr(section, name)
    return (value[0] if value else None) if isinstance(value, tuple) else value


def format_number(value: Number) -> str:
    """A few digits, or a dash."""
    return "-" if value is None else f"{value:.3g}"


def format_bags(result: EvaluationResult) -> str:
    """A line per bag and one for all."""
    width = max(len(bag.bag) for bag in (*result.bags, result.total))
    lines = [f"{result.model}, seed {result.seed}, inputs {result.inputs_hash[:16]}"]
    lines.append("".join([" " * width, *(f"{heading:>11}" for _, _, heading in COLUMNS)]))
    for bag in (*result.bags, *([result.total] if len(result.bags) > 1 else [])):
        values = "".join(f"{format_number(value_of(bag, part, name)):>11}" for part, name, _ in COLUMNS)
        lines.append(f"{bag.bag:<{width}}" + (f"  {bag.error}" if bag.error else values))
        lines.extend(f"{'':<{width}}  note: {note}" for note in bag.notes)
    lines.extend(verdicts(result.total))
    return "\n".join(lines)


def verdicts(bag: BagResult) -> list[str]:
    """Sentences on the predictions, by the model's own distance where it has one, and by L1."""
    sentences = []
    for prediction, name in ((bag.own_prediction, "the model's own distance"), (bag.prediction, "L1")):
        if prediction is not None:
            sentences.append(f"By {name}: {verdict_on_actions(prediction)} {verdict_on_prediction(prediction)}")
    return sentences


def verdict_on_actions(prediction: PredictionResult) -> str:
    """One sentence: whether the model makes use of actions, and by how much."""
    measured = [
        (step + 1, ratio, worse)
        for step, (ratio, worse) in enumerate(zip(prediction.shuffled_ratio, prediction.shuffled_worse, strict=True))
        if ratio is not None and worse is not None
    ]
    if not measured:
        return "Whether the model uses the actions could not be measured: there is no other moment to take them from."
    step, ratio, worse = max(measured, key=lambda item: item[1])
    ahead = f"{step} step{'s' * (step > 1)} ahead"
    amount = f"{100 * (ratio - 1):+.0f} % error {ahead} with other moments' actions, worse in {worse:.0%}"
    if ratio < IGNORES_ACTIONS:
        return f"The model ignores the actions: {amount} of the predictions."
    return f"The model uses the actions: {amount} of the predictions."


def verdict_on_prediction(prediction: PredictionResult) -> str:
    """One sentence: how the prediction compares with repeating the last frame, as far ahead as was predicted."""
    measured = [
        (step + 1, error / copy)
        for step, (error, copy) in enumerate(zip(prediction.error, prediction.copy_error, strict=True))
        if error is not None and copy
    ]
    if not measured:
        return "The picture never changed, so there was nothing to predict."
    parts = [
        f"{100 * (ratio - 1):+.0f} % {step} step{'s' * (step > 1)} ahead" for step, ratio in (measured[0], measured[-1])
    ]
    return f"Against repeating the last frame its error is {' and '.join(dict.fromkeys(parts))}."
