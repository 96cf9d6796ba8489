"""Learns how long a step takes from how much is in it: a base, so much a row that generates, so much a prompt token."""

from __future__ import annotations

from dataclasses import dataclass

_MEMORY = 0.99  # what a step weighs beside the next one: the last hundred or so count
# How much evidence it takes to change a price: a row's, and a prompt token's, in units of their variance in the steps.
_ROW_INERTIA, _TOKEN_INERTIA = 1.0, 64.0
_CHEAPEST = 1e-7  # seconds; a price is never nothing, or there would be no limit


@dataclass(slots=True)
class StepModel:
    """Least squares over weighted means and covariances; prices of what does not vary stay as they were."""

    row_seconds: float
    token_seconds: float  # of a prompt token
    weight: float = 0.0
    rows: float = 0.0  # weighted means
    tokens: float = 0.0
    seconds: float = 0.0
    _rr: float = 0.0  # weighted sums of products of deviations
    _rt: float = 0.0
    _tt: float = 0.0
    _rs: float = 0.0
    _ts: float = 0.0

    def learn(self, rows: int, tokens: int, seconds: float) -> None:
        """One step of `rows` sequences that generate and `tokens` prompt tokens."""
        self.weight = _MEMORY * self.weight + 1.0
        row, token, second = rows - self.rows, tokens - self.tokens, seconds - self.seconds
        self.rows += row / self.weight
        self.tokens += token / self.weight
        self.seconds += second / self.weight
        left = 1.0 - 1.0 / self.weight
        self._rr = _MEMORY * self._rr + left * row * row
        self._rt = _MEMORY * self._rt + left * row * token
        self._tt = _MEMORY * self._tt + left * token * token
        self._rs = _MEMORY * self._rs + left * row * second
        self._ts = _MEMORY * self._ts + left * token * second
        self._fit()

    @property
    def base(self) -> float:
        """Seconds of a step with nothing in it; below 0 where the prices hold only for what was seen."""
        return self.seconds - self.row_seconds * self.rows - self.token_seconds * self.tokens

    def _fit(self) -> None:
        rr, tt, rt = self._rr + _ROW_INERTIA, self._tt + _TOKEN_INERTIA, self._rt
        rs = self._rs + _ROW_INERTIA * self.row_seconds
        ts = self._ts + _TOKEN_INERTIA * self.token_seconds
        determinant = rr * tt - rt * rt  # above 0: both inertias are
        row, token = (rs * tt - ts * rt) / determinant, (ts * rr - rs * rt) / determinant
        if row < _CHEAPEST:
            row, token = _CHEAPEST, (ts - rt * _CHEAPEST) / tt
        if token < _CHEAPEST:
            row, token = max(_CHEAPEST, (rs - rt * _CHEAPEST) / rr), _CHEAPEST
        self.row_seconds, self.token_seconds = row, token
