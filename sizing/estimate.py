"""Learned weights: predicted from features such as the length of a pickle, and checked by walks."""

from __future__ import annotations

import math
import random
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dagcache.concurrency.lock import Lock
from dagcache.sizing.walk import Weight, weigh

_TRAINING_WALKS = 30
_WALK_ONE_IN = 32
_SHARE_OF_BUDGET = 0.02  # a heavier value is worth a walk
_SHARE_OF_LOADING = 0.01  # time for walks once a model is trained; estimates come on top
_MEMORY = 0.95  # the factor by which each sample fades the older ones: about the last 20 count
_RECENT = 64
_RANGE_SAMPLES = 128
_MARGIN = 0.25
_LARGER = 1.0  # beyond the largest size: of a value that is made of the same parts, the model knows twice as many
_SHARE_OF_TRAINING = 0.25  # the debt that unfamiliar values may run up
_LARGEST_FEATURE = 1e15
_MOST_MODELS = 8
_RIDGE = 1e-6
_CHECKS = 16  # the latest walks by which a model is judged
_TOLERANCE = 0.1  # of the sum of these: beyond this error a model is refuted
_MOST_PROOF = 4096  # walks in a row that a model has to predict well, after its last of several refutations
_SAMPLE_TOLERANCE = 0.1  # between a sampled weight and a model's: beyond it the value is walked as a whole
_LEAST_PER_PICKLED = 2.0  # live bytes for each byte of a pickle: a sample with fewer has missed something


@dataclass(frozen=True)
class Sized:
    """A weight in bytes, whether it comes from a complete walk, and its cost in seconds."""

    nbytes: int
    exact: bool
    seconds: float


class LearnedSizer:
    """Weighs values by a model of their features, and walks them where the model may be wrong. Thread-safe.

    It walks while a model has few samples, if features are unlike all earlier ones (in proportion, or more than twice
    as large), and if a value would take more than 2 % of the budget. Otherwise it walks about one value in 32, at
    irregular intervals. Once a model is trained, walks are limited to 1 % of the time of loads, if that is known.

    A model is refuted if the sum of its checks is off by more than 10 %. Then every value is walked, at any cost, until
    30 consecutive walks agree with the model. After a check that was far off, more walks have to agree, and after
    each further refutation twice as many. The model then comes back into use step by step: every second value is
    walked, every fourth, up to one in 32.

    Memory and the time per estimate are bounded; no walk happens under the lock.

    ``headroom`` multiplies every result: for what a walk does not see, or for values that grow. ``training`` is the
    number of walks before a model is used. ``walk`` gives exact weights; ``sample``, if given, is tried first, and its
    weight is taken unless the model contradicts it. ``timer`` gives seconds.
    """

    def __init__(
        self,
        *,
        walk: Callable[[object], Weight] = weigh,
        sample: Callable[[object], Weight] | None = None,
        headroom: float = 1.0,
        training: int = _TRAINING_WALKS,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 0 < headroom < math.inf:
            raise ValueError(f"headroom must be a finite number above 0, not {headroom!r}")
        self._walk = walk
        self._sample = sample
        self._headroom = headroom
        self._training = training
        self._timer = timer
        self._lock = Lock()  # re-entrant: a signal handler may weigh while its own thread is in the middle of it
        self._models: OrderedDict[int, _Model] = OrderedDict()
        self._allowance = _Allowance()
        self._errors = array("d")
        self._seconds = 0.0
        self._walks = 0
        self._estimates = 0
        self._refutations = 0

    @property
    def error_ratio(self) -> float:
        """Mean of (estimate - exact) / exact over the latest walks that a trained model could have spared."""
        errors = self._errors.tolist()  # one atomic copy instead of the lock: the caller may hold another lock
        return sum(errors) / len(errors) if errors else 0.0

    @property
    def seconds_total(self) -> float:
        """Seconds spent so far, on walks and estimates."""
        return self._seconds

    @property
    def refutations(self) -> int:
        """The number of times that a model was refuted: estimates from before may be wrong."""
        return self._refutations

    @property
    def walks(self) -> int:
        """The number of values that were walked."""
        return self._walks

    @property
    def estimates(self) -> int:
        """The number of values that were weighed by a model alone."""
        return self._estimates

    def size(
        self,
        value: object,
        features: Sequence[float],
        *,
        load_seconds: float = 0.0,
        budget: int = 0,
        pickled_bytes: float = 0.0,
    ) -> Sized:
        """The weight of a value, at least one byte.

        ``features`` are numbers that grow with the weight, always in the same order; each number of features
        has a model of its own, and without any the value is walked. ``load_seconds`` is the duration of the
        value's load; ``budget`` the cache's limit in bytes, 0 for none; ``pickled_bytes`` the length of the value's
        pickle, 0 if unknown, which checks a sampled weight. Errors of the walk pass through.
        """
        start = self._timer()
        row = _usable(features)
        model, predicted, spared = self._lock.run(self._predict, row, load_seconds, budget, start)
        if spared is not None and predicted is not None:
            return Sized(self._with_headroom(predicted), False, spared)
        weight = self._weigh(value, predicted, pickled_bytes)
        seconds = self._timer() - start
        self._lock.run(self._walked, model, row, predicted, weight, seconds)
        # A walk that gave up has found a lower bound; so may the model, if it knows only smaller graphs.
        nbytes = weight.nbytes if weight.complete else max(weight.nbytes, predicted or 0.0)
        return Sized(self._with_headroom(nbytes), weight.complete and not weight.sampled, seconds)

    def _weigh(self, value: object, predicted: float | None, pickled_bytes: float) -> Weight:
        """Weigh by a sample, or by a walk if the sample may have missed heavy parts."""
        if self._sample is None:
            return self._walk(value)
        weight = self._sample(value)
        if not weight.sampled:
            return weight
        if predicted is not None:
            doubtful = abs(weight.nbytes - predicted) > _SAMPLE_TOLERANCE * predicted
        else:
            doubtful = weight.nbytes < _LEAST_PER_PICKLED * pickled_bytes
        return self._walk(value) if doubtful else weight

    def _predict(
        self, row: tuple[float, ...], load_seconds: float, budget: int, start: float
    ) -> tuple[_Model | None, float | None, float | None]:
        """The model, its prediction, and the seconds it took if the prediction is good enough. Under the lock."""
        model = self._model(len(row)) if row else None
        predicted = model.predict(row) if model else None
        self._allowance.earn(load_seconds)
        if model is None or predicted is None or not self._spare_walk(model, row, predicted, budget):
            return model, predicted, None
        model.spared += 1
        self._estimates += 1
        self._seconds += (seconds := self._timer() - start)
        return model, predicted, seconds

    def _walked(
        self, model: _Model | None, row: tuple[float, ...], predicted: float | None, weight: Weight, seconds: float
    ) -> None:
        """Account for a walk and learn from it. Under the lock."""
        self._walks += 1
        self._seconds += seconds
        self._allowance.spend(seconds, training=predicted is None)
        if weight.complete and weight.nbytes > 0:
            self._learn(model, row, weight.nbytes, predicted)

    def _model(self, features: int) -> _Model:
        model = self._models.get(features)
        if model is None:
            model = self._models[features] = _Model(features, self._training)
            if len(self._models) > _MOST_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(features)
        return model

    def _spare_walk(self, model: _Model, row: tuple[float, ...], predicted: float, budget: int) -> bool:
        if model.is_refuted:
            return False
        if model.is_on_probation and model.is_due:
            return False
        if not model.is_familiar(row) and self._allowance.overdraft:
            return False
        due = model.is_due or (budget > 0 and predicted > _SHARE_OF_BUDGET * budget)
        return not (due and self._allowance.in_credit)

    def _learn(self, model: _Model | None, row: tuple[float, ...], nbytes: int, predicted: float | None) -> None:
        if model is None:
            return
        was_refuted = model.is_refuted
        if predicted is not None:
            _keep_last(self._errors, ((predicted - nbytes) / nbytes,), _RECENT)
            model.check(predicted, nbytes)
        model.learn(row, nbytes)
        self._refutations += model.is_refuted and not was_refuted

    def _with_headroom(self, nbytes: float) -> int:
        return max(1, math.ceil(nbytes * self._headroom))


class _Allowance:
    """The time that walks may take once there is a model: a share of the loading time, if that is known."""

    def __init__(self) -> None:
        self._loading_known = False
        self._seconds = 0.0
        self._training = 0.0

    def earn(self, load_seconds: float) -> None:
        if 0 < load_seconds < math.inf:
            self._loading_known = True
            self._seconds += load_seconds * _SHARE_OF_LOADING

    def spend(self, seconds: float, *, training: bool) -> None:
        if training:
            self._training += seconds
        else:
            self._seconds -= seconds

    @property
    def in_credit(self) -> bool:
        """Whether a walk to check the model is affordable."""
        return not self._loading_known or self._seconds > 0

    @property
    def overdraft(self) -> bool:
        """Whether a walk to extend the model is: that may run up a debt."""
        return not self._loading_known or self._seconds > -_SHARE_OF_TRAINING * self._training


class _Model:
    """Least squares over a constant and the features, each sample weighted by 1 / weight and fading with age.

    Weighting by 1 / weight balances relative errors, which small values dominate, and absolute ones.
    """

    def __init__(self, features: int, training: int) -> None:
        terms = features + 1
        self.spared = 0
        """Estimates since the last walk."""
        self._distance = 0
        self._samples = 0
        self._enough = max(training, 3 * terms)
        self._products = [[0.0] * terms for _ in range(terms)]
        self._targets = [0.0] * terms
        self._coefficients = [0.0] * terms
        self._recent = [array("d") for _ in _traits((0.0,) * features)]
        self._bounds: list[tuple[float, float]] = []
        self._training = array("d")
        self._record = _Record()

    @property
    def is_refuted(self) -> bool:
        """Whether its predictions are not to be used."""
        return self._record.is_refuted

    @property
    def is_on_probation(self) -> bool:
        """Whether it was refuted, and has not proved itself since."""
        return self._record.interval < _WALK_ONE_IN

    @property
    def is_due(self) -> bool:
        """Whether the next value is to be walked, to check it. At uneven distances: loads may come in cycles."""
        return self.spared >= self._distance

    def predict(self, row: tuple[float, ...]) -> float | None:
        """Bytes; None while there are too few samples, or if the model gives nonsense."""
        if self._samples < self._enough:
            return None
        constant, *slopes = self._coefficients
        nbytes = constant + sum(slope * feature for slope, feature in zip(slopes, row, strict=True))
        return nbytes if 0 < nbytes < math.inf else None

    def is_familiar(self, row: tuple[float, ...]) -> bool:
        """Whether each of its traits lies in the range of recent samples or a quarter outside; sizes up to twice."""
        return all(low <= trait <= high for trait, (low, high) in zip(_traits(row), self._bounds, strict=True))

    def learn(self, row: tuple[float, ...], nbytes: int) -> None:
        """Take a sample in."""
        self.spared = 0
        self._distance = self._record.distance()
        self._samples += 1
        for column, trait in zip(self._recent, _traits(row), strict=True):
            _keep_last(column, (trait,), _RANGE_SAMPLES)
        margins = [_LARGER] * len(row) + [_MARGIN] * (len(self._recent) - len(row))
        self._bounds = [
            (min(column) - _MARGIN * abs(min(column)), max(column) + margin * abs(max(column)))
            for column, margin in zip(self._recent, margins, strict=True)
        ]
        terms = (1.0, *row)
        for i, term in enumerate(terms):
            self._targets[i] = _MEMORY * self._targets[i] + term
            products = self._products[i]
            for j, other in enumerate(terms):
                products[j] = _MEMORY * products[j] + term * other / nbytes
        if self._samples < self._enough:
            _keep_last(self._training, (*row, float(nbytes)), _CHECKS * (len(row) + 1))
            return
        self._coefficients = _solve(self._products, self._targets)
        if self._training:
            self._check_training(len(row))

    def check(self, predicted: float, nbytes: int) -> None:
        """Compare a prediction with the walk that it could have spared."""
        self._record.add(predicted, nbytes)

    def _check_training(self, features: int) -> None:
        """Features that do not predict the weight show in the samples that the model was made from."""
        samples, self._training = self._training.tolist(), array("d")
        for start in range(0, len(samples), features + 1):
            *row, nbytes = samples[start : start + features + 1]
            self._record.add(self.predict(tuple(row)) or 0.0, nbytes)


class _Record:
    """How well a model has predicted the walks that checked it."""

    def __init__(self) -> None:
        self.is_refuted = False
        self.interval = _WALK_ONE_IN
        """One in this number of values is walked, on the average."""
        self._predicted = array("d")
        self._walked = array("d")
        self._refutations = 0
        self._agreed = 0  # checks in a row
        self._proof = 0  # of these, needed for coming back into use
        self._random = random.Random(_CHECKS)

    def add(self, predicted: float, walked: float) -> None:
        """Take a check in."""
        _keep_last(self._predicted, (predicted,), _CHECKS)
        _keep_last(self._walked, (walked,), _CHECKS)
        usual = sum(self._predicted) / len(self._predicted)
        if abs(sum(self._predicted) - sum(self._walked)) > _TOLERANCE * _CHECKS * usual:
            # 0 if the model has given no positive weight so far: then the walks set the scale.
            self._refute(abs(predicted - walked) / (usual or sum(self._walked) / len(self._walked)))
            return
        self._agreed += 1
        if self.is_refuted and self._agreed >= self._proof:
            self.is_refuted, self._agreed = False, 0
        elif not self.is_refuted and self.interval < _WALK_ONE_IN and self._agreed >= _CHECKS:
            self.interval, self._agreed = 2 * self.interval, 0

    def _refute(self, severity: float) -> None:
        """One such value among fewer than ``severity / _TOLERANCE`` puts the total off by more than the tolerance."""
        self._refutations += not self.is_refuted
        needed = max(_TRAINING_WALKS * 2 ** (self._refutations - 1), severity / _TOLERANCE)
        self._proof = int(min(max(needed, self._proof), _MOST_PROOF))
        self.is_refuted, self.interval, self._agreed = True, 1, 0

    def distance(self) -> int:
        """How many values may be estimated before the next walk; `interval` - 1 on the average."""
        return self._random.randrange(2 * self.interval - 1)


def _keep_last(numbers: array[float], new: Sequence[float], most: int) -> None:
    """Append to an array that holds no more than so many.

    An array, because each number that outlives the values it was learned from would keep an arena of the allocator's.
    """
    numbers.extend(new)
    del numbers[:-most]


def _usable(features: Sequence[float]) -> tuple[float, ...]:
    """The features as floats; none if one of them could spoil a model."""
    try:
        row = tuple(map(float, features))
    except (TypeError, ValueError, OverflowError):
        return ()
    return row if all(abs(feature) <= _LARGEST_FEATURE for feature in row) else ()


def _traits(row: tuple[float, ...]) -> tuple[float, ...]:
    """The traits that identify a graph: its size in every feature, and the proportions of the features."""
    first = row[0] or 1.0
    return (*row, *(feature / first for feature in row[1:]))


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve the normal equations, scaled to a unit diagonal, by elimination.

    The ridge keeps features that say the same thing from cancelling out with huge coefficients.
    """
    size = len(right)
    scale = [math.sqrt(matrix[i][i]) or 1.0 for i in range(size)]
    rows = [
        [matrix[i][j] / (scale[i] * scale[j]) + (_RIDGE if i == j else 0.0) for j in range(size)]
        + [right[i] / scale[i]]
        for i in range(size)
    ]
    for i, pivot in enumerate(rows):
        for row in rows[i + 1 :]:
            factor = row[i] / pivot[i]
            for j in range(i, size + 1):
                row[j] -= factor * pivot[j]
    solution = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][j] * solution[j] for j in range(i + 1, size))
        solution[i] = (rows[i][size] - known) / rows[i][i]
    return [value / unit for value, unit in zip(solution, scale, strict=True)]
