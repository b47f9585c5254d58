"""Turns the features of a prompt into the few coordinates that the estimator is linear in."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.text import FloatArray, IntArray, TextFeatures

SCALAR_CLIP = 3.0  # standard deviations; one freak prompt must not leave the range the waves were fitted on.
STYLE_WAVES = (
    96  # random Fourier features of the scalars (Rahimi & Recht 2007), the kernel's width is one deviation.
)
TOPIC_AXES = 64  # leading axes of the hashed words (latent semantic analysis).
QUESTION_AXES = 64  # of the last paragraph's words alone.
TASK_AXES = 48  # rank of the task classifier; 100 tasks lose under half a point of accuracy by it.


@dataclass(frozen=True, slots=True)
class Encoder:
    """Fixed after training. H buckets, S scalars, W waves, R task axes, L topic axes, Q question axes, T tasks.

    weight: (H,) inverse document frequencies.  words: (H, R + L + 1) task axes, topic axes, difficulty.
    question_weight: (H,), questions: (H, Q): the same of the last paragraph alone, topic axes only.
    waves: (S, W), phases: (W,).  style: (W, R + 1) what the waves add to the task axes and to the difficulty.
    task_map: (R, T), task_share: (T,), sharpness: the softmax's inverse temperature, fitted out of sample.
    difficulty_scale: standard deviation of out-of-sample difficulty, to standardise it.
    """

    weight: FloatArray
    words: FloatArray
    question_weight: FloatArray
    questions: FloatArray
    scalar_mean: FloatArray
    scalar_deviation: FloatArray
    waves: FloatArray
    phases: FloatArray
    style: FloatArray
    task_map: FloatArray
    task_share: FloatArray
    sharpness: float
    difficulty_scale: float

    def encode(self, features: TextFeatures) -> "Coordinates":
        """Coordinates of one prompt; about 25 µs, whatever the number of models."""
        pooled = _pooled(features.buckets, self.weight, self.words)
        asked = _pooled(features.question, self.question_weight, self.questions)
        waves = style_waves(
            features.scalars, self.scalar_mean, self.scalar_deviation, self.waves, self.phases
        )
        styled = waves @ self.style
        ranks = self.task_map.shape[0]
        scores = (pooled[:ranks] + styled[:-1]) @ self.task_map + self.task_share
        difficulty = (pooled[-1] + styled[-1]) / self.difficulty_scale
        return Coordinates(
            tasks=softmax(scores * self.sharpness),
            style=waves,
            topic=np.concatenate([pooled[ranks:-1], asked]),
            difficulty=float(difficulty),
            familiarity=float(scores.max()),
        )


@dataclass(frozen=True, slots=True)
class Coordinates:
    """tasks: (T,) probabilities as the text alone suggests; style: (W,); topic: (L + Q,); difficulty: standardised.

    familiarity: the classifier's raw best score, near 1 for a prompt like those trained on, near 0 for a strange one.
    """

    tasks: FloatArray
    style: FloatArray
    topic: FloatArray
    difficulty: float
    familiarity: float


def _pooled(buckets: IntArray, weight: FloatArray, axes: FloatArray) -> FloatArray:
    values = weight[buckets]
    pooled: FloatArray = (values @ axes[buckets]) / (np.sqrt(values @ values) + 1e-9)
    return pooled


def style_waves(
    scalars: FloatArray, mean: FloatArray, deviation: FloatArray, waves: FloatArray, phases: FloatArray
) -> FloatArray:
    """Random Fourier features of raw scalars; (S,) or (n, S) in, (W,) or (n, W) out."""
    standard = np.clip((scalars - mean) / deviation, -SCALAR_CLIP, SCALAR_CLIP)
    turned: FloatArray = np.cos(standard @ waves + phases) * np.float32(np.sqrt(2.0 / waves.shape[1]))
    return turned


def softmax(scores: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
