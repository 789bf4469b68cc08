"""Small episodes to train on: a bright square whose place in the picture is the state's x and y."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jepa_world_model.data.episodes import EpisodeArrays

FRAMES, EPISODES = 6, 8


def make_episodes(seed: int, size: int = 32) -> EpisodeArrays:
    """Episodes of `FRAMES` frames of `size` pixels."""
    generator = np.random.default_rng(seed)
    images = np.full((EPISODES, FRAMES, size, size, 3), 30, np.uint8)
    states = np.zeros((EPISODES, FRAMES, 7), np.float32)
    states[..., :2] = generator.uniform(0.0, 0.5, (EPISODES, FRAMES, 2))
    side = size // 4
    for episode, frame in np.ndindex(EPISODES, FRAMES):
        row, column = (states[episode, frame, :2] * 2 * (size - side)).astype(int)
        images[episode, frame, row : row + side, column : column + side] = 220
    return EpisodeArrays(images, states, np.diff(states, axis=1))


def save_episodes(folder: Path, shards: int = 2, size: int = 32) -> Path:
    """The episodes of seeds 0, 1, ... as a dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(shards):
        episodes = make_episodes(index, size)
        path = folder / f"shard_{index:05d}.npz"
        np.savez(path, images=episodes.images, states=episodes.states, actions=episodes.actions)
    return folder
