"""Every test module has a ROS domain of its own, every run a run-time directory; they talk to this host only."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

REPOSITORY = Path(__file__).parents[1]

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as background processes begin, and hand on to theirs
    signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest listens to loggers that do not propagate, too, and where anybody listens to this one torch notes the stack of
# every operator that it traces.
logging.getLogger("torch.__trace").addHandler = lambda _: None  # type: ignore[method-assign]

LONGEST = (
    "wav_models/engines/runtimes/test_onnxruntime.py",
    "wav_models/engines/runtimes/test_tensorrt.py",
    "wav_models/engines/onnx/test_graph_forms.py",
    "wav_models/training/test_train_command.py",
    "wav_models/bench/test_gpu.py",
    "wav_models/evaluation/test_evaluate_command.py",
    "wav_models/training/test_ltx_training.py",
    "wav_models/training/test_metrics.py",
    "wav_models/training/test_loop.py",
    "wav_models/bench/test_cost.py",
    "mutants/test_mutants.py",
    "wav_policy/sim/test_bowl.py",
    "wav_policy/nodes/test_piper_node.py",
    "wav_policy/cli/test_operate.py",
    "wav_policy/nodes/test_recorder_node.py",
    "wav_policy/nodes/test_piper_node_errors.py",
    "wav_policy/piper/test_faults.py",
    "wav_policy/nodes/test_chunk_gateway.py",
)
"""Modules of a part that begin first, so that no process of several is left with one at the end."""

WITH_CLOCKS = (
    "wav_policy/piper",
    "wav_policy/sim/firmware",
    "wav_policy/teleoperation",
    "wav_policy/bringup/test_supervisor.py",
    "wav_policy/cli/test_ending.py",
    "wav_policy/control/test_control_loop.py",
    "wav_policy/control/test_loop_inhibits.py",
    "wav_policy/control/test_loop_thread.py",
    "wav_policy/monitor/test_operator_bar.py",
    "wav_policy/monitor/test_page_requests.py",
    "wav_policy/policy/remote/test_remote_policy.py",
    "wav_policy/policy/test_planning_worker.py",
    "wav_policy/recording/test_live_recorder.py",
)
"""Whose tests wait for arms on pseudo-terminals, or run loops in real time: on a busy machine these fall silent."""

_DOMAINS = range(1, 102)
"""Whose ports lie below those that Linux gives away."""
_ENDING_TIMEOUT = 60.0
"""Of a system that was asked to end [s]."""

StartSystem = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What the modules have imported and pytest has collected stays to the end, so nobody looks through it for what
    could go: every thread waits meanwhile, also those of simulated arms, which fall silent."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first; the others stay in their order. What talks to nodes or arms looks at the clock.

    A process of several takes whole modules.
    """
    clocks = tuple(REPOSITORY / "tests" / name for name in WITH_CLOCKS)
    for item in items:
        if any(item.get_closest_marker(name) for name in ("ros", "browser")) or set(clocks) & {
            item.path,
            *item.path.parents,
        }:
            item.add_marker(pytest.mark.clock)
    first = {REPOSITORY / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(scope="module", autouse=True)
def _domain() -> Iterator[None]:
    """What an earlier module may have left behind, or another worker or run, does not disturb this one."""
    first = int(os.environ["ROS_DOMAIN_ID"])
    for step in range(len(_DOMAINS)):
        domain = _DOMAINS[(first - 1 + step) % len(_DOMAINS)]
        with _reserved(domain) as is_ours:
            if is_ours and domain not in _domains_in_use():
                os.environ["ROS_DOMAIN_ID"] = str(domain)
                yield
                return
    raise RuntimeError("every ROS domain from 1 to 101 is in use on this machine")


@contextmanager
def _reserved(domain: int) -> Iterator[bool]:
    """Keep other tests of this machine out of a domain meanwhile; False where they keep us out."""
    try:
        lock = (Path(tempfile.gettempdir()) / f"wav-test-domain-{domain}.lock").open("a")
    except PermissionError:  # another user's tests
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _domains_in_use() -> set[int]:
    """Domains of which a UDP port is bound here: 250 each from 7400 on (DDSI-RTPS 2.5, 9.6.2.3)."""
    lines = Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]
    return {(int(line.split()[1].split(":")[1], 16) - 7400) // 250 for line in lines}


@pytest.fixture(scope="session")
def start_system() -> StartSystem:
    """Starts a command as a process that does not outlive its `with` block, nor do its children; see `_running`."""
    return _running


@contextmanager
def _running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, asked to end by SIGTERM where it still runs; what has not ended then is killed, and an error."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
        process.terminate()
        try:
            process.wait(_ENDING_TIMEOUT)
        finally:
            _, left = psutil.wait_procs(family, timeout=5.0)
            for survivor in left:
                survivor.kill()
            process.kill()
            process.wait()
        assert not left, f"{command} left {left}"


@pytest.fixture(scope="session", autouse=True)
def _runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pseudo-terminal links of the tests do not meet those of a running system."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint of the form of `wav-tiny`, smaller and with random weights: it plans and moves the arms a
    little, without sense."""
    import torch

    from wav_models.checkpoint import save_checkpoint
    from wav_models.networks.autoencoder import make_autoencoder
    from wav_models.networks.wav_model import WAVModel
    from wav_models.presets import WAV_TINY

    config = replace(
        WAV_TINY,
        video=replace(
            WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=32, cross_attention_dim=64
        ),
        value=replace(WAV_TINY.value, attention_head_dim=16),
        action=replace(WAV_TINY.action, attention_head_dim=16),
    )
    directory = tmp_path_factory.mktemp("checkpoints") / "random"
    torch.manual_seed(0)
    save_checkpoint(
        directory,
        model=WAVModel(config),
        autoencoder=make_autoencoder(config),
        normalization=_unit_normalization(config.horizon.action_horizon),
        training_record={"data": "none: random weights"},
    )
    return directory


def _unit_normalization(horizon: int):  # type: ignore[no-untyped-def]
    """States as they are; actions within about a hundredth of a radian of the measured state."""
    import numpy as np

    from wav_models.data.normalization import Normalization
    from wav_models.embodiments import BIMANUAL_PIPER
    from wav_policy.robot.joints import JOINT_DIM

    small = np.full((horizon, JOINT_DIM), 0.01)
    return Normalization(
        state_mean=np.zeros(JOINT_DIM),
        state_std=np.ones(JOINT_DIM),
        action_diff_mean=np.zeros((horizon, JOINT_DIM)),
        action_diff_std=small,
        state_diff_mean=np.zeros((horizon, JOINT_DIM)),
        state_diff_std=small,
        value_mean=np.zeros(17),
        value_std=np.ones(17),
        embodiment=BIMANUAL_PIPER,
    )


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A dask scheduler of this machine with two workers, which come back when they die."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local
