"""`python -m wav_models.bench.gpu` on a CPU, on a machine with few packages, and its judgements."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wav_models.bench.gpu import __main__ as gpu
from wav_models.bench.gpu import phases, training
from wav_models.bench.gpu.__main__ import PHASES, main
from wav_models.bench.gpu.phases import BenchPhase
from wav_models.bench.gpu.session import RESULTS, Session, Times, relative_error
from wav_models.bench.gpu.tensorrt import tensorrt
from wav_models.bench.subject import Answers, Subject
from wav_models.networks.wav_model import WAVModel, recompute_activations
from wav_models.presets import WAV_TINY

BARE = """
import importlib.abc, importlib.metadata, re, sys, threading

def with_requirements(name, found):
    if name in found:
        return found
    found.add(name)
    try:
        requires = importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return found
    for requirement in requires:
        if "extra ==" not in requirement:
            with_requirements(re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-"), found)
    return found

installed = set()
for package in ("torch", "transformers", "onnx", "accelerate", "safetensors"):
    with_requirements(package, installed)
modules = importlib.metadata.packages_distributions()
allowed = {m for m, packages in modules.items() if any(p.lower().replace("_", "-") in installed for p in packages)}

there = list(sys.meta_path)

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in modules and top not in allowed and top != "wav_models":
            return None  # as where it is not installed
        found = (finder.find_spec(name, path, target) for finder in there)
        return next((spec for spec in found if spec is not None), None)

sys.meta_path[:] = [Bare()]
for refused in ("av", "cv2", "diffusers", "pyarrow", "tyro", "rclpy"):
    try:
        __import__(refused)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{refused} was imported")
from wav_models.bench.gpu import __main__ as gpu
gpu.PROGRAM = sys.orig_argv[:3]
sys.exit(gpu.main(sys.argv[1:]))
"""


ENDS = """
import os, signal, sys, threading, time
from wav_models.bench.gpu import __main__ as gpu
from wav_models.bench.gpu.session import Session

def hang(session):
    session.say("before")
    time.sleep(1000.0)

def lose(session):
    def forget(self):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    Session.forget = forget
    raise RuntimeError("what came of it")

def crash(session):
    session.judge(False, "", "before")
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(session):
    os._exit(3)

if "hang" in sys.argv:  # it is not waited for as long as it may take
    Timer = threading.Timer
    threading.Timer = lambda limit, *rest: Timer(min(limit, 1.0), *rest)
gpu.PROGRAM = sys.orig_argv[:3]
gpu.PHASES = (*(gpu.BenchPhase(each.__name__, 1.0, each) for each in (hang, lose, crash, leave)), gpu.PHASES[0])
sys.exit(gpu.main(sys.argv[1:]))
"""
"""A run of which every phase but the last ends its process."""
HOW = (*gpu.ENDINGS, gpu.CRASHED)

CANNOT_BEGIN = """
import os, signal, sys
from wav_models.bench.gpu import __main__ as gpu
if "--began" in sys.argv:
    os.kill(os.getpid(), signal.SIGSEGV)
gpu.PROGRAM = sys.orig_argv[:3]
sys.exit(gpu.main(sys.argv[1:]))
"""


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / RESULTS).read_text().splitlines()]


def test_all_phases_pass_on_a_cpu_with_five_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BARE, "--device", "cpu", "--preset", "wav-tiny"]
    command += ["--seconds", "800", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=850)
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert done.returncode == 0, done.stderr[-2000:] + "".join(map(str, [r for r in rows if "FAILED" in r["result"]]))
    assert done.stdout.splitlines() == (tmp_path / RESULTS).read_text().splitlines()
    assert [row["phase"] for row in rows if row["result"] == "ends"] == [phase.name for phase in PHASES]
    assert rows[-1]["result"] == "done"
    assert rows[-1]["failed"] == 0
    plans = [row for row in rows if row["result"] == "plan"]
    assert len(plans) == 4  # causal and full memory, bf16 and fp8
    for row in plans:
        assert row["floor_ms"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["actions_differ_from_fp32"] < 1.0
    steps = [row for row in rows if row["result"] == "training step"]
    assert [row["stage"] for row in steps] == ["video", "video", "value", "value", "action", "action"]
    assert all(row["falls"] for row in steps)
    assert all(
        one["loss"] == pytest.approx(two["loss"], rel=1e-2) for one, two in zip(steps[::2], steps[1::2], strict=True)
    )


def test_a_phase_that_raises_is_a_result_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty_like", lambda _: 1 / 0)
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    gpu.run(session, [phase for phase in PHASES if phase.name in ("machine", "tensorrt")])
    rows = session.rows()
    (failed,) = (row for row in rows if row["result"] == "FAILED")
    assert failed["phase"] == "machine"
    assert "ZeroDivisionError" in failed["error"]
    assert any(row["result"] == "left out" and row["phase"] == "tensorrt" for row in rows)


def test_a_phase_that_ends_its_process_costs_itself_only(tmp_path: Path) -> None:
    """What is left is done by another process: an error of a GPU stays with the one that it happened in."""
    options = ["--device", "cpu", "--preset", "wav-tiny", "--out", str(tmp_path), "--seconds", "500"]
    done = subprocess.run([sys.executable, "-c", ENDS, *options], capture_output=True, text=True, timeout=500)
    rows = rows_of(tmp_path)
    assert done.stdout.splitlines() == (tmp_path / RESULTS).read_text().splitlines(), done.stderr[-2000:]
    assert [row["phase"] for row in rows if row["result"] == "begins"] == ["hang", "lose", "crash", "leave", "machine"]
    ended = [(row["phase"], row["result"], row.get("error", "")[:23]) for row in rows if row["result"] in HOW]
    assert ended == [
        ("hang", "cut off", ""),
        ("lose", "device lost", "RuntimeError: CUDA erro"),
        ("crash", "crashed", "SIGSEGV"),
        ("leave", "crashed", "exit code 3"),
        ("machine", "ends", ""),
    ]
    assert any(row["result"] == "matrix product" for row in rows)
    assert rows[-1]["result"] == "done"
    assert rows[-1]["failed"] == done.returncode == 4 + 2  # beside the ends what came of one, and before another
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_process_that_cannot_begin_is_a_failure_and_is_not_tried_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CANNOT_BEGIN, "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr[-2000:]
    crashed, end = rows_of(tmp_path)
    assert (crashed["result"], crashed["phase"], crashed["error"]) == ("crashed", None, "SIGSEGV")
    assert (end["result"], end["failed"]) == ("done", 1)


def test_what_does_not_fit_into_the_memory_costs_its_own_result_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that holds no plan in float32 and none with full memory, nor the last stage's activations."""
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    session.facts["gemm_flops"] = 1e9
    whole, steps = phases._full, training._steps

    def full(session: Session, causal: bool, sizes: tuple[int, int], dtype: str = "bf16", **options: Any) -> Subject:
        if dtype == "fp32" or not causal:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(session, causal, sizes, dtype="fp32", **options)

    def few_steps(session: Session, name: str, checkpointed: bool) -> dict[str, Any]:
        if not checkpointed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"of": steps.__name__}

    def eager(session: Session, causal: bool) -> None:
        session.say("eager", causal=full(session, causal, (1, 1)) is not None)

    monkeypatch.setattr(phases, "_full", full)
    monkeypatch.setattr(phases, "_eager", eager)
    monkeypatch.setattr(training, "_steps", few_steps)
    phases.plans(session)
    phases.eager(session)
    training.training(session)
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert [row["plan"].split(", ")[3:5] for row in rows if row["result"] == "plan"] == [
        ["causal memory", "bf16"],
        ["causal memory", "fp8"],
    ]
    assert [row["causal"] for row in rows if row["result"] == "eager"] == [True]
    assert [row["stage"] for row in rows if row["result"] == "training step"] == ["video", "value", "action"]
    failed = [row for row in rows if row["result"] == "FAILED"]
    assert len(failed) == 4 + 1 + 3
    assert all("out of memory" in row["error"] for row in failed)


@pytest.mark.parametrize(
    ("broken", "found"),
    [((), "compiled and recorded"), (("compile",), "recorded"), (("compile", "cuda_graphs"), "eager")],
)
def test_a_plan_is_measured_in_the_fastest_way_that_works(
    broken: tuple[str, ...], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a C compiler, or where the memory does not hold recordings; what failed takes no memory any more."""
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    monkeypatch.setattr(Session, "on_gpu", True)
    monkeypatch.setattr(session, "forget", lambda: None)
    tried: list[weakref.ref[Any]] = []

    class Planner:
        def __init__(self, options: dict[str, Any]) -> None:
            self.options = options

        def plan(self) -> None:
            if any(self.options.get(option) for option in broken):
                raise RuntimeError("Failed to find C compiler")

    def full(*_: Any, **options: Any) -> Planner:
        assert not any(each() for each in tried)
        planner = Planner(options)
        tried.append(weakref.ref(planner))
        return planner

    monkeypatch.setattr(phases, "_full", full)
    how, subject = phases._fastest(session, True, (8, 4), "bf16")
    assert how == found
    assert subject is tried[-1]()
    failed = [row["result"] for row in rows_of(tmp_path)]
    assert failed == ["not compiled and recorded", "not recorded"][: len(broken)]


def test_a_format_that_a_device_has_not_costs_its_own_results_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)

    def tiny(*_: Any, dtype: str = "fp32", **__: Any) -> Any:
        if dtype == "bf16":
            raise RuntimeError("needs compute capability 8.0")
        return SimpleNamespace(answers=lambda jacobian: Answers(*(torch.ones(2) for _ in range(3))))

    monkeypatch.setattr(phases, "_tiny", tiny)
    phases.correct(session)
    rows = rows_of(tmp_path)
    agree = [(row["dtype"], row["causal"]) for row in rows if row["result"] == "agrees with the CPU"]
    assert agree == [("fp32", True), ("fp8", True), ("fp32", False), ("fp8", False)]
    assert [row["dtype"] for row in rows if row["result"] == "FAILED"] == ["bf16", "bf16"]


def test_launches_are_what_the_gpu_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of the GPU alone has the host's calls beside it."""
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    names = ("key", "count", "self_device_time_total")
    events = ("norm", 1, 10.0), ("cudaLaunchKernel", 5, 0.0), ("gemm", 4, 30.0)
    rows = [SimpleNamespace(**dict(zip(names, event, strict=True))) for event in events]
    profiled = SimpleNamespace(key_averages=lambda: rows)
    monkeypatch.setattr("torch.profiler.profile", lambda activities: nullcontext(profiled))
    phases._say_kernels(session, lambda: None)
    found = rows_of(tmp_path)
    assert (found[0]["launches"], found[0]["ms"]) == (5, 0.04)
    assert [(row["name"], row["calls"], row["share"]) for row in found[1:]] == [("gemm", 4, 0.75), ("norm", 1, 0.25)]


def test_blocks_of_another_model_do_not_count_towards_the_limit_of_compilations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    resets: list[bool] = []
    monkeypatch.setattr(torch._dynamo, "reset", lambda: resets.append(True))
    monkeypatch.setattr(phases, "Subject", lambda *_, **options: options)
    for compiled, expected in ((False, 0), (True, 1), (True, 2)):
        phases._full(session, True, (2, 1), compile=compiled, cuda_graphs=True)
        assert len(resets) == expected


def test_what_refers_to_itself_is_forgotten_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As models do whose blocks are compiled or recomputed: a GPU holds one at a time."""
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    monkeypatch.setattr(Session, "on_gpu", True)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    model = WAVModel(WAV_TINY)
    recompute_activations(model)
    block = weakref.ref(model.video.transformer_blocks[0])
    gc.disable()
    try:
        del model
        assert block() is not None
        session.forget()
        assert block() is None
    finally:
        gc.enable()


def test_a_plan_beside_what_fails_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take the next phase's time."""
    session, planned = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path), []

    def plan() -> Any:
        time.sleep(0.3 if planned else 0.0)
        planned.append(True)
        return SimpleNamespace(actions=torch.ones(2))

    engine = SimpleNamespace(denoise=lambda *_: 1 / 0)
    subject = SimpleNamespace(plan=plan, observe=lambda: None, engine=engine, video_noise=torch.ones(1))
    monkeypatch.setattr(phases, "_tiny", lambda *_, **__: subject)
    with pytest.raises(ZeroDivisionError):
        phases.threads(session)
    assert len(planned) == 2


def test_a_gpu_that_tensorrt_does_not_serve_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(torch.device("cpu"), "wav-tiny", 1e6, tmp_path)
    monkeypatch.setattr(Session, "on_gpu", True)
    rtx = SimpleNamespace(__name__="tensorrt_rtx")
    monkeypatch.setattr("wav_models.engines.runtimes.tensorrt.tensorrt_module", lambda: rtx)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    tensorrt(session)
    (row,) = rows_of(tmp_path)
    assert row["result"] == "left out"
    assert "this GPU is sm_90; install classic TensorRT" in row["why"]


def test_phases_that_do_not_fit_are_left_out_and_time_is_kept_for_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of which every phase that runs takes 10 s."""
    now, ran = [0.0], []

    def phase(name: str, seconds: float) -> BenchPhase:
        def run(session: Session) -> None:
            ran.append(name)
            now[0] += 10.0

        return BenchPhase(name, seconds, run)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = phase("machine", 10), phase("correct", 50), phase("eager", 10), phase("plans", 60)
    session = Session(torch.device("cpu"), "wav-tiny", 100.0, tmp_path)
    gpu.run(session, made)
    assert ran == ["machine", "eager", "plans"]
    assert [row["phase"] for row in session.rows() if row["result"] == "left out"] == ["correct"]
    gpu.run(Session(torch.device("cpu"), "wav-tiny", 5.0, tmp_path), made[-1:])
    assert ran == ["machine", "eager", "plans"]


def test_a_machine_without_a_gpu_is_told_what_runs_there(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        main([])
    assert "--device cpu --preset wav-tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds", "nan"], "argument --seconds: nan is no positive number"),
        (["--seconds", "0"], "argument --seconds: 0 is no positive number"),
        (["--seconds", "soon"], "argument --seconds: invalid seconds value: 'soon'"),
        (["--only", "plan"], "argument --only: invalid choice: 'plan'"),
        (["--out", "/dev/null"], "argument --out: "),
        (["--preset", "wav-3b"], "argument --preset: invalid choice: 'wav-3b'"),
    ],
)
def test_what_cannot_be_asked_for_is_named(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--device", "cpu", *options])
    assert said in capsys.readouterr().err


def test_results_that_cannot_be_kept_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--out", str(tmp_path), "--only", "machine"])
    printed = capsys.readouterr()
    assert "argument --out: " in printed.err
    assert not printed.out


def test_a_number_that_is_not_finite_agrees_with_nothing() -> None:
    expected = torch.ones(3)
    assert not relative_error(torch.tensor([1.0, float("nan"), 1.0]), expected) < 1e9
    assert relative_error(1.1 * expected, expected) == pytest.approx(0.1)


def test_percentiles_of_few_times() -> None:
    times = Times([3.0, 1.0, 2.0])
    assert (times.p50, Times([4.0]).p50, Times([4.0]).p99) == (2.0, 4.0, 4.0)
    assert 2.9 < times.p99 <= 3.0


def test_timing_stops_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(torch.device("cpu"), "wav-tiny", 10.0, tmp_path)
    calls: list[int] = []
    assert len(session.time(lambda: calls.append(1), repeat=5).milliseconds) == len(calls) == 1
    monkeypatch.setattr(Session, "on_gpu", True)
    monkeypatch.setattr(session, "wait", lambda: None)
    monkeypatch.setattr(session, "_once", lambda work: work() or 1.0)
    assert len(session.time(lambda: calls.append(1), repeat=10**9, limit=0.01).milliseconds) < 10**7
    calls.clear()
    assert len(session.time(lambda: calls.append(1), repeat=3, warm=2).milliseconds) == 3
    assert len(calls) == 5
