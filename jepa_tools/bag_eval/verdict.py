"""What an evaluation says in plain words: what a reader wants to know first, as questions and answers."""

from __future__ import annotations

from jepa_tools.bag_eval.results import BagResult, EvaluationResult, PredictionResult

IGNORES_ACTIONS = 1.02
"""A model whose error grows by less than this factor with other moments' actions makes no use of actions."""

_GOOD_RANK, _SOME_RANK = 0.8, 0.5


def verdict(result: EvaluationResult) -> list[tuple[str, str]]:
    """Questions and answers, most important first. Predictions are judged by the model's own distance."""
    total = result.total
    prediction = total.own_prediction or total.prediction
    answers: list[tuple[str, str]] = []
    if prediction is not None:
        answers.append(("Does the model use the actions?", use_of_actions(prediction)))
        answers.append(("How far ahead can it be trusted?", trusted_horizon(prediction, rate_of(result))))
    if total.energy is not None:
        answers.append(("Can a planner follow its energy?", use_to_planners(total)))
    answers.append(("Where did it fail?", failures(result)))
    return answers


def rate_of(result: EvaluationResult) -> float | None:
    """Steps per second; None where bags differ or none could be read."""
    rates = {bag.rate_hz for bag in result.bags if bag.rate_hz}
    return rates.pop() if len(rates) == 1 else None


def use_of_actions(prediction: PredictionResult) -> str:
    """Whether the model makes use of actions, and by how much."""
    measured = [
        (step + 1, ratio, worse)
        for step, (ratio, worse) in enumerate(zip(prediction.shuffled_ratio, prediction.shuffled_worse, strict=True))
        if ratio is not None and worse is not None
    ]
    if not measured:
        return "This could not be measured: there is no other moment to take actions from."
    step, ratio, worse = max(measured, key=lambda item: item[1])
    if ratio < IGNORES_ACTIONS:
        return (
            f"No. Given the actions of other moments its predictions are as good as before: {_change(ratio)} error"
            f" {_steps(step)} ahead, worse in {worse:.0%} of the predictions. Do not plan with it."
        )
    return (
        f"Yes. Given the actions of other moments its error is {ratio:.2g} times as large {_steps(step)} ahead, and"
        f" larger in {worse:.0%} of the predictions."
    )


def trusted_horizon(prediction: PredictionResult, rate_hz: float | None) -> str:
    """How many steps ahead the model's error stays below that of repeating the last picture."""
    measured = [
        (step + 1, error / copy)
        for step, (error, copy) in enumerate(zip(prediction.error, prediction.copy_error, strict=True))
        if error is not None and copy
    ]
    if not measured:
        return "This could not be measured: the picture never changed, so there was nothing to predict."
    good = 0
    while good < len(measured) and measured[good][1] < 1.0:
        good += 1
    first = f"{_change(measured[0][1])} error {_steps(measured[0][0])} ahead"
    if not good:
        return f"Not at all. Repeating the last picture is the better guess already: {first} beside it."
    step, ratio = measured[good - 1]
    seconds = f" ({step / rate_hz:g} s)" if rate_hz else ""
    beside = f"{first}, {_change(ratio)} {_steps(step)} ahead" if step > measured[0][0] else first
    if good == len(measured):
        return f"At least {_steps(step)}{seconds}, as far as was measured. Beside repeating the last picture: {beside}."
    return f"{_steps(step)}{seconds}; then repeating the last picture is the better guess. Beside it: {beside}."


def use_to_planners(total: BagResult) -> str:
    """Whether the energy falls with the distance, and where plans end."""
    rank = total.energy.rank_correlation_end if total.energy else None
    if rank is None:
        return "This could not be measured: the robot hardly moved."
    word = "Yes" if rank >= _GOOD_RANK else "In part" if rank >= _SOME_RANK else "Hardly"
    answer = f"{word}. The rank correlation of energy and distance to the goal is {rank:.2f} (1 is perfect)."
    planning = total.planning
    if planning is not None and planning.position_error_cm is not None and planning.still_error_cm is not None:
        answer += (
            f" Plans end {planning.position_error_cm:.1f} cm from where the robot went, which was"
            f" {planning.still_error_cm:.1f} cm away."
        )
    return answer


def failures(result: EvaluationResult) -> str:
    """The most surprising moment, how many were beyond the card's threshold, and bags that could not be read."""
    sentences = []
    moments = [(bag, moment) for bag in result.bags if bag.novelty for moment in bag.novelty.worst]
    novelty = result.total.novelty
    if moments and novelty is not None:
        bag, moment = max(moments, key=lambda item: item[1].surprise)
        place = f"{bag.bag}, episode {moment.episode + 1} at {moment.time:.2f} s (surprise {moment.surprise:.3g})"
        if novelty.threshold is None or novelty.above is None:
            sentences.append(f"It was most surprised in {place}.")
        elif novelty.above:
            sentences.append(
                f"{novelty.above} of {novelty.count} pictures ({novelty.above / novelty.count:.1%}) surprised it beyond"
                f" the {novelty.threshold:.3g} of its card, most of all {place}."
            )
        else:
            sentences.append(
                f"No picture surprised it beyond the {novelty.threshold:.3g} of its card; most did {place}."
            )
    unread = [bag.bag for bag in result.bags if bag.error]
    if unread:
        sentences.append(f"Not evaluated: {', '.join(unread)}.")
    return " ".join(sentences) or "Nothing was measured."


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %"


def _steps(count: int) -> str:
    return f"{count} step{'s' * (count > 1)}"
