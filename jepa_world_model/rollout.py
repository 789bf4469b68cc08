"""Imagined futures: rolling an action-conditioned predictor out over candidate action sequences.

A step of tokens looks at its own step and at all earlier ones, so keys and values of earlier steps are kept and each
step is computed once. The context before its last frame is the same for all candidates and is computed once, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.compiled_blocks import CompiledBlock, CompileMode, begin_compiled_step
from jepa_world_model.inference_blocks import BlockTable, InferenceBlock, Modulation, Projection, Workspace, attend
from jepa_world_model.layers import Block
from jepa_world_model.poses import difference, integrate_batch

# Activations of about this size stay in a CPU's caches, and larger batches are not faster; but a few candidates at a
# time are needed for what they share to be worth sharing.
CPU_BUDGET_BYTES = 32 << 20
CPU_LEAST_CANDIDATES = 8


@dataclass(frozen=True)
class RolloutInputs:
    """What a rollout starts from.

    Attributes:
        context: latents ``[T, N, D]`` in the predictor's dtype, oldest first.
        states: ``[T, state_dim]`` float32.
        actions: ``[S, H, action_dim]`` float32, following the last context frame.
    """

    context: Tensor
    states: Tensor
    actions: Tensor

    def split(self, samples: int) -> list[RolloutInputs]:
        """The same context with at most ``samples`` candidates each."""
        return [RolloutInputs(self.context, self.states, actions) for actions in self.actions.split(samples)]


@dataclass
class _History:
    """Keys and values of one block, a segment per step, of one row (shared) or one row per candidate."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def append(self, key: Tensor, value: Tensor) -> None:
        # What a projection returns lies in a workspace that the next block overwrites.
        self.keys.append(key.clone())
        self.values.append(value.clone())


class CachedRollout:
    """Rolls ``predictor`` out without gradients. Weights are read when this is built; not thread-safe.

    With a ``compile_mode`` the blocks are compiled when they are first used.
    """

    def __init__(self, predictor: ActionConditionedPredictor, compile_mode: CompileMode | None = None) -> None:
        self._predictor, self._compile_mode = predictor, compile_mode
        self.config = predictor.config
        # Parameters that are rearranged under inference mode could not be used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            blocks = (block for block in predictor.predictor_blocks if isinstance(block, Block))
            self._blocks = [
                InferenceBlock(block) if compile_mode is None else CompiledBlock(block, compile_mode)
                for block in blocks
            ]
        self._tables: dict[int, list[BlockTable]] = {}
        self._space = Workspace()

    def latents(self, inputs: RolloutInputs) -> Tensor:
        """Predicted latents ``[S, H, N, D]``."""
        return torch.stack(list(self.steps(inputs)), dim=1)

    def steps(self, inputs: RolloutInputs) -> Iterator[Tensor]:
        """Predicted latents ``[S, N, D]``, step after step."""
        begin_compiled_step(self._compile_mode)
        start, horizon = inputs.states.shape[0] - 1, inputs.actions.shape[1]
        histories = self._prefix(inputs)
        latents, states = inputs.context[-1:], inputs.states[-1:]
        for step in range(horizon):
            actions = inputs.actions[:, step]
            keep = step + 1 < horizon
            latents = self._advance(start + step, latents, actions, states, histories, keep)
            yield latents
            if keep:
                states = integrate_batch(states, actions)

    def _prefix(self, inputs: RolloutInputs) -> list[_History]:
        """Histories after all context frames but the last."""
        histories = [_History() for _ in self._blocks]
        past = context_actions(inputs.states)
        for step in range(past.shape[0]):
            row = slice(step, step + 1)
            self._advance(step, inputs.context[row], past[row], inputs.states[row], histories, keep=True)
        return histories

    def _advance(
        self, step: int, latents: Tensor, actions: Tensor, states: Tensor, histories: list[_History], keep: bool
    ) -> Tensor:
        """Predict the frame after ``step`` from latents ``[B or 1, N, D]``; append to the histories when asked to."""
        if self.config.conditioning == "adaln":
            x = self._modulated(step, latents, actions, states, histories, keep)
        else:
            x = self._with_tokens(step, latents, actions, states, histories, keep)
        return self._predictor.read_out(x.unsqueeze(1), latents.unsqueeze(1)).squeeze(1)

    def _with_tokens(
        self, step: int, latents: Tensor, actions: Tensor, states: Tensor, histories: list[_History], keep: bool
    ) -> Tensor:
        predictor, dtype = self._predictor, latents.dtype
        action = predictor.action_encoder(actions.to(dtype)).unsqueeze(1)
        state = predictor.state_encoder(states.to(dtype)).unsqueeze(1)
        rest = torch.cat([state, predictor.predictor_embed(latents)], dim=1)
        layers = list(zip(self._blocks, self._step_tables(step), histories, strict=True))
        if rest.shape[0] < action.shape[0]:
            block, table, history = layers.pop(0)
            x = self._first_block_shared(block, table, history, action, rest, keep)
        else:
            x = torch.cat([action, rest], dim=1)
        for block, table, history in layers:
            x = self._run(block, table, history, x, keep)
        return x

    def _modulated(
        self, step: int, latents: Tensor, actions: Tensor, states: Tensor, histories: list[_History], keep: bool
    ) -> Tensor:
        dtype = latents.dtype
        condition = self._predictor.condition(actions.to(dtype), states.to(dtype)).unsqueeze(1)
        x = self._predictor.predictor_embed(latents).expand(condition.shape[0], -1, -1)
        for block, table, history in zip(self._blocks, self._step_tables(step), histories, strict=True):
            x = self._run(block, table, history, x, keep, block.modulation(condition))
        return x

    def _step_tables(self, step: int) -> list[BlockTable]:
        """Each block's rotary factors for the tokens of ``step``."""
        if step not in self._tables:
            size = self.config.tokens_per_step
            table = self._predictor.rotary(step + 1, self._predictor.predictor_embed.weight.device)
            rotary = table.slice(step * size, (step + 1) * size)
            self._tables[step] = [block.table(rotary) for block in self._blocks]
        return self._tables[step]

    def _run(
        self,
        block: InferenceBlock,
        table: BlockTable,
        history: _History,
        x: Tensor,
        keep: bool,
        modulation: Modulation | None = None,
    ) -> Tensor:
        projection = block.project(x, table, self._space, modulation)
        keys = _joined([*history.keys, projection.key])
        values = _joined([*history.values, projection.value])
        if keep:
            history.append(projection.key, projection.value)
        attended = attend(projection.query, keys, values, self._space)
        return block.finish(x, attended, self._space, modulation)

    def _first_block_shared(
        self, block: InferenceBlock, table: BlockTable, history: _History, action: Tensor, shared: Tensor, keep: bool
    ) -> Tensor:
        """The first block where candidates differ in their action token ``[S, 1, D]`` alone, not in ``[1, n, D]``.

        Norms, projections, rotations and the attention among the shared tokens are computed once. Adding one key to an
        attention moves its result towards that key's value by the key's share of the weight.
        """
        own = block.project(action, table.slice(0, 1), Workspace())
        rest = block.project(shared, table.slice(1, 1 + shared.shape[1]), Workspace())
        keys, values = _joined([*history.keys, rest.key])[0], _joined([*history.values, rest.value])[0]
        if keep:
            history.append(rest.key, rest.value)
            history.append(own.key, own.value)
        samples, tokens = action.shape[0], shared.shape[1] + 1
        attended = self._space.take("attended", (samples, tokens, keys.shape[0], keys.shape[2]), action)
        attended[:, :1] = _attend_actions(own, keys, values)
        attended[:, 1:] = _attend_shared(rest.query[0], own, keys, values)
        x = torch.cat([action, shared.expand(samples, -1, -1)], dim=1)
        return block.finish(x, attended.flatten(2), self._space)


def _joined(segments: Sequence[Tensor]) -> Tensor:
    """Segments ``[B or 1, heads, n, head_dim]`` as one ``[B, heads, sum of n, head_dim]``."""
    if len(segments) == 1:
        return segments[0]
    rows = max(segment.shape[0] for segment in segments)
    return torch.cat([segment.expand(rows, -1, -1, -1) for segment in segments], dim=2)


def _attend_actions(own: Projection, keys: Tensor, values: Tensor) -> Tensor:
    """Each candidate's action token looks at the shared tokens and at itself: ``[S, 1, heads, head_dim]``."""
    base, total = _attend(own.query.squeeze(2).transpose(0, 1), keys, values)
    scores = (own.query * own.key).sum(-1).float()
    share = torch.sigmoid(scores - total.t()[..., None]).to(base.dtype)
    return torch.lerp(base.transpose(0, 1).unsqueeze(2), own.value, share[..., None]).transpose(1, 2)


def _attend_shared(query: Tensor, own: Projection, keys: Tensor, values: Tensor) -> Tensor:
    """Shared tokens ``[heads, n, head_dim]`` look at each other and at the action: ``[S, n, heads, head_dim]``."""
    base, total = _attend(query, keys, values)
    scores = (query @ own.key.squeeze(2).permute(1, 2, 0)).float()
    share = torch.sigmoid(scores - total[..., None]).to(base.dtype).permute(2, 1, 0)
    return torch.lerp(base.transpose(0, 1), own.value.transpose(1, 2), share[..., None])


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention ``[heads, n, head_dim]`` and the logarithm of its weights' sum ``[heads, n]``, float32."""
    scores = (query @ keys.transpose(1, 2)).float()
    return scores.softmax(-1).to(values.dtype) @ values, scores.logsumexp(-1)


def bytes_per_candidate(config: ActionPredictorConfig, frames: int, horizon: int, itemsize: int) -> int:
    """Memory that one candidate needs at the peak of a rollout from ``frames`` context frames."""
    shape = config.block_shape
    step = config.tokens_per_step * itemsize
    activations = step * (9 * shape.dim + 2 * shape.mlp_dim)
    attention = 2 * step * shape.dim * (frames + horizon - 1 if frames + horizon > 2 else 0)
    history = 2 * step * shape.dim * config.depth * (horizon - 1)
    latents = config.patches * config.embed_dim * (2 * itemsize + 3 * 4)
    return activations + attention + history + latents


def memory_budget(device: torch.device, candidate_bytes: int) -> int:
    """Bytes that a rollout may take on ``device``: most of what a graphics card has left, or what suits the caches."""
    if device.type != "cuda":
        return max(CPU_BUDGET_BYTES, CPU_LEAST_CANDIDATES * candidate_bytes)
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(0.8 * (free + held))


def in_parts(function: Callable[[RolloutInputs], Tensor], inputs: RolloutInputs, samples: int) -> Tensor:
    """``function`` over at most ``samples`` candidates at a time, concatenated; fewer when the memory runs out.

    Raises:
        torch.OutOfMemoryError: not even one candidate fits.
    """
    samples = max(1, min(samples, inputs.actions.shape[0]))
    while True:
        try:
            return torch.cat([function(part) for part in inputs.split(samples)])
        except torch.OutOfMemoryError:
            if samples == 1:
                raise
            samples = (samples + 1) // 2


def context_actions(states: Tensor) -> Tensor:
    """Actions ``[T - 1, 7]`` that lead from each context state ``[T, 7]`` to the next."""
    if states.shape[0] == 1:
        return states[:0]
    values = states.detach().cpu().numpy()
    return torch.as_tensor(difference(values[:-1], values[1:]), dtype=states.dtype, device=states.device)


def uncached_rollout(predictor: ActionConditionedPredictor, inputs: RolloutInputs) -> Tensor:
    """Predicted latents ``[S, H, N, D]``, everything recomputed at every step: the reference for the cached path."""
    samples, horizon = inputs.actions.shape[:2]
    latents = inputs.context.expand(samples, -1, -1, -1)
    poses = inputs.states.expand(samples, -1, -1)
    past = context_actions(inputs.states).expand(samples, -1, -1)
    for step in range(horizon):
        past = torch.cat([past, inputs.actions[:, step : step + 1]], dim=1)
        predicted = predictor(latents.flatten(1, 2), past.to(latents.dtype), poses.to(latents.dtype))
        latents = torch.cat([latents, predicted.unflatten(1, (past.shape[1], -1))[:, -1:]], dim=1)
        poses = torch.cat([poses, integrate_batch(poses[:, -1], past[:, -1])[:, None]], dim=1)
    return latents[:, -horizon:]
