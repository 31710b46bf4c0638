"""The number format is measured once per machine, and decided alike at every start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wav_models.engines import precision
from wav_models.engines.precision import native_dtype


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    precision._bf16_pays.cache_clear()
    yield tmp_path / "wav_policy" / "bf16.json"
    precision._bf16_pays.cache_clear()


@pytest.mark.parametrize(("share", "dtype"), [(0.5, "bf16"), (0.9, "fp32"), (4.0, "fp32")])
def test_bf16_is_taken_where_it_is_faster(
    share: float, dtype: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bf16_share", lambda: share)
    assert native_dtype("cpu") == dtype
    monkeypatch.setattr(precision, "bf16_share", lambda: 4.5 - share)  # a busier moment
    precision._bf16_pays.cache_clear()
    assert native_dtype("cpu") == dtype


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"another processor": 0.1}'])
def test_a_cache_that_does_not_say_is_measured_again(
    damaged: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir()
    cache.write_text(damaged)
    monkeypatch.setattr(precision, "bf16_share", lambda: 0.5)
    assert native_dtype("cpu") == "bf16"
    assert 0.5 in json.loads(cache.read_text()).values()


def test_without_a_cache_to_write_it_is_measured_at_every_start(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(precision, "bf16_share", lambda: 0.5)
    assert native_dtype("cpu") == "bf16"


def test_the_share_is_that_of_the_fastest_calls() -> None:
    """By this clock a product takes 2 s, and 1 s in bf16."""
    ticks = iter([float(x) for i in range(precision.REPEATS) for x in (10 * i, 10 * i + 2, 10 * i + 3, 10 * i + 4)])
    assert precision.bf16_share(lambda: next(ticks)) == pytest.approx(0.5)
    assert 0.0 < precision.bf16_share() < 1000.0


@pytest.mark.parametrize(
    ("told", "bits"),
    [
        ("flags\t\t: fpu avx avx2\n", 7),
        ("flags\t\t: fpu avx2 avx512f\n", 7),
        ("flags\t\t: fpu avx2 avx_vnni\n", 8),
        ("flags\t\t: fpu avx512_vnni\n", 8),
        ("Features\t: fp asimd\n", 8),
    ],
)
def test_weights_have_a_bit_less_where_products_of_bytes_overflow(
    told: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: f"processor\t: 0\n{told}")
    assert precision.weight_bits() == bits
