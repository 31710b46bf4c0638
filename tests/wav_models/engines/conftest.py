"""Many small graphs are exported here."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_table_of_operators() -> Iterator[None]:
    """`torch.onnx.export` makes the table of its operators anew for every graph, in a quarter of its time."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            from torch.onnx._internal._lazy_import import onnxscript_apis

            table = functools.cache(onnxscript_apis.get_torchlib_ops)
        except (ImportError, AttributeError):  # no public name: another version may not have it, and is slower here
            yield
            return
        for name, module in list(sys.modules.items()):
            if name.startswith("onnxscript._framework_apis.") and hasattr(module, "get_torchlib_ops"):
                patch.setattr(module, "get_torchlib_ops", table)
        yield
