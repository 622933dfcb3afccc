"""Pushing a T onto its place with a round finger: the environment gym-pusht.

Source: Florence et al. 2021 (implicit behavioral cloning) and the simulated Push-T of Chi et al. 2023; the
simulation is that of the package gym-pusht.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.domain import Options
from unstir.recipes.numbers import Number, bootstrap_mean, proportion
from unstir.recipes.policy.data import PolicySettings
from unstir.recipes.policy.environment import Observation
from unstir.recipes.policy.pictures import as_pictures
from unstir.recipes.policy.task import Policy, rollouts
from unstir.recipes.settings import RunSettings

if TYPE_CHECKING:
    from unstir.model import Model

SIZE = 512.0
"""The table's edge, in the unit of positions and actions."""
LIMIT = 300
"""Steps of an episode, as in the published code of Chi et al. 2023."""
FIRST_SEED = 100_000
"""Of the episodes that a policy is judged by, as there."""


def settings() -> RunSettings:
    """A 1-D U-Net on the demonstrations of people, which are a file of their own (``--data``).

    The file that Chi et al. 2023 published has states (``state``) and pictures (``img``); a policy that sees
    pictures and the finger's place only sets ``data.options.image=img`` and ``data.options.dimensions=2``.
    """
    return RunSettings.model_validate(
        {
            "recipe": "pusht",
            "data": {
                "source": "policy",
                "path": "pusht_cchi_v7_replay.zarr",
                "options": PolicySettings().model_dump(mode="json"),
            },
            "schedule": {"name": "cosine"},
            "network": {"kind": "unet", "width": 64, "multipliers": (1, 2, 4)},
            "training": {"samples": 3_000_000, "batch": 256, "learning_rate": 1e-3, "drop_condition": 0.0},
            "sampling": {"steps": 8},
        }
    )


def measure(model: Model, run: RunSettings, options: Options) -> dict[str, Number]:
    """How well a policy pushes the T, over ``options.n`` episodes (50 by default).

    Raises:
        ModuleNotFoundError: if gym-pusht is not installed.
        ValueError: if the model sees or does something else than in this environment.
    """
    image = model.config.conditions.get("image")
    pixels, (height, width) = image is not None, image.shape[1:] if image else (96, 96)
    seen, does = model.config.conditions["observation"].shape[0], model.config.event[0]
    if (seen, does) != (2 if pixels else 5, 2):
        raise ValueError(
            "pushing a T has actions of 2 numbers and observations of 5, or of 2 beside a picture, but this "
            f"model has actions of {does} and observations of {seen}{' beside a picture' if pixels else ''}"
        )
    executed = run.data.options.get("executed", 8)
    policy = Policy(model, steps=options.steps, executed=executed, seed=options.seed)
    n = options.n or 50
    done = rollouts(
        policy, lambda: PushT(pixels=pixels, size=(height, width)), range(FIRST_SEED, FIRST_SEED + n)
    )
    score, interval = bootstrap_mean([one.score for one in done])
    success, success_interval = proportion(sum(one.success for one in done), n)
    return {
        "score": Number(
            score, interval=interval, meaning="mean of the largest share of the place covered, over 0.95"
        ),
        "success": Number(success, interval=success_interval, meaning="share of episodes that cover 95 %"),
        "evaluations": Number(float(policy.planner.evaluations), meaning="of the network for a plan"),
    }


class PushT:
    """The table with the finger and the T.

    An action (2,) is where the finger should go, 0 to 512 along each axis; a controller takes it there, ten
    actions a second. The observation is (5,), finger x, y, T x, y and its angle in 0 to 2 pi, or with
    pictures the finger's (2,) and ``image`` (3, height, width). An episode succeeds once 95 % of the place is
    covered; its score is the largest share so far, divided by 0.95 and at most 1.

    Args:
        pixels: see the T in a picture only.
        size: height and width of that picture, if the demonstrations' were resized (``image_size``).
        limit: steps of an episode; `LIMIT` by default.

    Raises:
        ModuleNotFoundError: if gym-pusht is not installed.
    """

    def __init__(
        self, *, pixels: bool = False, size: tuple[int, int] = (96, 96), limit: int | None = None
    ) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import gym_pusht  # noqa: F401
            import gymnasium
        except ModuleNotFoundError:
            raise needed("gym-pusht", "robotics") from None
        self.pixels, self.size, self.limit = pixels, size, LIMIT if limit is None else limit
        self._score = 0.0
        self._environment: Any = gymnasium.make(
            "gym_pusht/PushT-v0",
            obs_type="pixels_agent_pos" if pixels else "state",
            render_mode="rgb_array",
            visualization_width=192,
            visualization_height=192,
            max_episode_steps=self.limit,
            disable_env_checker=True,
        )

    @property
    def score(self) -> float:
        """The largest share of the place that was covered in this episode, over 0.95, at most 1."""
        return self._score

    def reset(self, seed: int) -> Observation:
        """Finger and T somewhere on the table."""
        seen, _ = self._environment.reset(seed=int(seed))
        self._score = 0.0
        return self._named(seen)

    def step(self, action: NDArray[np.floating]) -> tuple[Observation, bool, bool]:
        """Send the finger somewhere; beyond the table's edge means to the edge.

        Raises:
            ValueError: if the action is not two finite numbers.
        """
        target = np.asarray(action, dtype=np.float64)
        if target.shape != (2,) or not np.isfinite(target).all():
            raise ValueError(
                f"an action of pushing a T is two finite numbers, x and y, got {target.tolist()}"
            )
        seen, reward, ended, stopped, _ = self._environment.step(target.clip(0.0, SIZE))
        self._score = max(self._score, float(reward))
        return self._named(seen), bool(ended or stopped), bool(ended)

    def image(self) -> NDArray[np.uint8]:
        """The table from above, (192, 192, 3), with a cross where the finger was sent."""
        return np.asarray(self._environment.render(), dtype=np.uint8)

    def _named(self, seen: Any) -> Observation:
        if not self.pixels:
            return {"observation": np.asarray(seen, dtype=np.float64)}
        picture = as_pictures(np.asarray(seen["pixels"])[None], size=self.size)[0]
        return {"observation": np.asarray(seen["agent_pos"], dtype=np.float64), "image": picture}
