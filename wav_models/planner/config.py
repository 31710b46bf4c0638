"""Parameters of the latent planner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from wav_models.configuration import check_choice
from wav_models.planner.scoring import SCORES, SEARCHES, SNR_EPS
from wav_models.planner.selection import SELECTIONS


@dataclass(frozen=True)
class PlannerConfig:
    """How hard, and how, to search for a good future (Algorithm 1). Paper symbols in brackets.

    Raises:
        ValueError: a value that does not fit, naming the argument, the value and what fits.
    """

    num_iterations: int = 3
    """[K] rounds of sample, score, refit; 0 = no planning."""
    num_video_samples: int = 8
    """[M] futures per round."""
    num_value_samples: int = 4
    """[N] value samples per future."""
    num_video_elites: int = 4
    """[K1] futures the video noise is refitted to, of M."""
    num_value_elites: int = 8
    """[K2] value samples the value noise is refitted to, of M * N."""
    mean_update_rate: float = 0.9
    """[alpha] weight of the new mean."""
    std_update_rate: float = 0.9
    """[beta] weight of the new standard deviation."""
    min_std: float = 0.1
    """Floor of both standard deviations."""
    score: str = "snr"
    """"snr" (the paper's), "mean" or "gain" (rise of the value); see `scoring.SCORES`."""
    shared_value_noise: bool = False
    """Judge all futures of a round with the same N value noises, so that they differ by what is seen in them only
    (common random numbers). False: every pair has its own, as published."""
    snr_eps: float = SNR_EPS
    """[epsilon] of the signal-to-noise ratio."""
    video_times: tuple[float, ...] = (0.0,)
    """Flow times of the passes of the video DiT that every future takes: Euler steps lead from each to the next, and
    the experts read the features of the last. (0,): one pass over pure noise, as published."""
    share_first_step: bool = False
    """The Euler step to the first of `video_times`, which is above 0 then, is one for all futures of an observation: it
    leads towards their mean mu, the velocity at zero noise and flow time 0, so that x_t = (1 - t) x_0 + t mu."""
    num_value_steps: int = 5
    """Euler steps of the value expert."""
    num_action_steps: int = 5
    """Euler steps of the action expert."""
    action_noise_std: float = 1.0
    """Scale of the action noise; 0 = the action expert starts from zero."""
    selection: str = "sample"
    """What is acted on (Alg. 1, line 13): a "sample" of the refitted noise (the paper's), its "mean", or the "best"
    future seen in any round; without rounds there is none to choose from, and "best" means "sample"."""
    deadline: float | None = None
    """Time a plan may take [s]; a round that would not fit is not begun. None: all rounds run."""
    warm_start: bool = False
    """Start from the last plan's refitted noise, shifted by the time that has passed."""
    warm_start_min_std: float = 0.5
    """Floor of the standard deviations a warm start begins with."""

    def __post_init__(self) -> None:
        _integer(self, "num_iterations", 0)
        for kind in ("video_samples", "value_samples", "value_steps", "action_steps"):
            _integer(self, f"num_{kind}", 1)
        _integer(self, "num_video_elites", 1, self.num_video_samples, "num_video_samples")
        num_pairs = self.num_video_samples * self.num_value_samples
        _integer(self, "num_value_elites", 1, num_pairs, "num_video_samples * num_value_samples")
        for name in ("mean_update_rate", "std_update_rate"):
            _number(self, name, 0.0, 1.0)
        for name in ("min_std", "snr_eps", "action_noise_std", "warm_start_min_std"):
            _number(self, name, 0.0)
        if self.deadline is not None:
            _number(self, "deadline", 0.0)
        _video_times(self.video_times, self.share_first_step)
        check_choice("score", self.score, (*SCORES, *SEARCHES))
        check_choice("selection", self.selection, SELECTIONS)

    @property
    def update_rates(self) -> tuple[float, float, float]:
        """alpha, beta, and the floor of the standard deviations."""
        return self.mean_update_rate, self.std_update_rate, self.min_std

    def with_samples(self, num_video_samples: int | None = None, num_value_samples: int | None = None) -> PlannerConfig:
        """This planner with another M or N (None: its own), and no more elites than there are then."""
        video = self.num_video_samples if num_video_samples is None else num_video_samples
        value = self.num_value_samples if num_value_samples is None else num_value_samples
        return replace(
            self,
            num_video_samples=video,
            num_value_samples=value,
            num_video_elites=min(self.num_video_elites, video),
            num_value_elites=min(self.num_value_elites, video * value),
        )


def _video_times(times: tuple[float, ...], share_first_step: bool) -> None:
    rising = all(early < late for early, late in pairwise((*times, 1.0)))
    if not times or not rising or not (times[0] > 0.0 if share_first_step else times[0] == 0.0):
        first = "above 0" if share_first_step else "0"
        raise ValueError(
            f"video_times is {times}; rising flow times below 1 fit, the first {first} where share_first_step is "
            f"{share_first_step}"
        )


def _integer(config: PlannerConfig, name: str, low: int, high: int | None = None, bound: str = "") -> None:
    value = getattr(config, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        fits = f"an integer >= {low}" if high is None else f"an integer from {low} to {high} ({bound})"
        raise ValueError(f"{name} is {value!r}; {fits} fits")


def _number(config: PlannerConfig, name: str, low: float, high: float = float("inf")) -> None:
    value = getattr(config, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        fits = f"a number >= {low:g}" if high == float("inf") else f"a number from {low:g} to {high:g}"
        raise ValueError(f"{name} is {value!r}; {fits} fits")
