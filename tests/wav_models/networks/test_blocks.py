"""What the processor cannot multiply in one pass runs in several."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import torch
from wav_models.networks.blocks import FeedForward
layer = FeedForward(64).to(torch.bfloat16).eval()
with torch.inference_mode():
    print(layer(torch.ones(2, 64, dtype=torch.bfloat16)).isfinite().all().item())
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_bfloat16_runs_on_a_processor_without_avx512() -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "True", ran.stderr
