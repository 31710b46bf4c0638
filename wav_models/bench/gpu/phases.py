"""What is shown and measured of planning, most worth knowing first; `PHASES` has them in order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from wav_models.bench.cost import Workload, plan_cost, total
from wav_models.bench.gpu.session import Session, relative_error
from wav_models.bench.subject import Answers, Subject, elites_in_common, model_of, published_planner
from wav_models.guidance import JACOBIANS
from wav_models.networks.fp8 import quantized_rows, scaled_product
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan

CPU: Final = torch.device("cpu")
NUM_ITERATIONS: Final = 3
NUM_STEPS: Final = 5
"""Euler steps of the value and the action expert."""
TOLERANCE: Final = {"fp32": 1e-3, "bf16": 6e-2, "fp8": 2e-1}
"""Of values and actions against float32 on the CPU, relative."""
PLAN_SECONDS: Final = 20.0
COMPILE_SECONDS: Final = 80.0
"""What a plan of one size takes to be measured, and to be compiled before; what does not fit is left out."""
NUM_KERNELS: Final = 12
"""Of the most expensive ones that are named."""


@dataclass(frozen=True)
class BenchPhase:
    """One part of the run.

    Attributes:
        seconds: what it is expected to take; it is left out where less is left.
    """

    name: str
    seconds: float
    run: Callable[[Session], None]


def machine(session: Session) -> None:
    """What is here, and the rates that everything else is compared with."""
    session.say(
        "machine",
        torch=torch.__version__,
        cuda=torch.version.cuda,
        python=sys.version.split()[0],
        gpu=torch.cuda.get_device_name() if session.on_gpu else None,
        capability=list(torch.cuda.get_device_capability()) if session.on_gpu else None,
        cpus=os.cpu_count(),
    )
    size = 8192 if session.on_gpu else 512
    left, right = (torch.randn(size, size, device=session.device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2e3 * size**3 / session.time(lambda: left @ right, 10).p50
    session.facts["gemm_flops"] = rate
    session.say("matrix product", size=size, dtype="bf16", tflops=rate / 1e12)
    numbers = torch.empty(2**31 if session.on_gpu else 2**22, dtype=torch.uint8, device=session.device)
    copy = torch.empty_like(numbers)
    session.say("copy", tb_per_s=2e-9 * numbers.numel() / session.time(lambda: copy.copy_(numbers), 10).p50)


def correct(session: Session) -> None:
    """The whole chain of wav-tiny: on the device against float32 on the CPU, eager and recorded."""
    sizes = (8, 4) if session.on_gpu else (2, 1)
    for causal in (True, False):
        reference = _tiny(CPU, causal, sizes)
        guided = JACOBIANS if session.on_gpu else ()
        expected = {jacobian: reference.answers(jacobian) for jacobian in (None, *guided)}
        for dtype in TOLERANCE:
            for recorded in (False, True) if session.on_gpu else (False,):
                what = {"dtype": dtype, "causal": causal, "recorded": recorded}
                session.attempt(partial(_correct, session, expected, sizes, what), phase="correct", **what)


def _correct(
    session: Session, expected: dict[str | None, Answers], sizes: tuple[int, int], what: dict[str, Any]
) -> None:
    dtype, recorded = what["dtype"], what["recorded"]
    subject = _tiny(session.device, what["causal"], sizes, dtype=dtype, cuda_graphs=recorded)
    for jacobian in expected if dtype == "fp32" else (None,):
        if recorded:
            subject.answers(jacobian)
        _say_agreement(session, subject.answers(jacobian), expected[jacobian], {**what, "jacobian": jacobian})


def _tiny(device: torch.device, causal: bool, sizes: tuple[int, int], **options: Any) -> Subject:
    """Of the same weights on every device."""
    model = model_of("wav-tiny", causal=causal, device=CPU).to(device)
    return Subject(model, published_planner(NUM_ITERATIONS, *sizes, NUM_STEPS), **options)


def _say_agreement(session: Session, found: Answers, expected: Answers, what: dict[str, Any]) -> None:
    errors = {name: relative_error(x, getattr(expected, name)) for name, x in vars(found).items()}
    agrees = all(error < TOLERANCE[what["dtype"]] for error in errors.values())
    session.judge(agrees, "agrees with the CPU", "differs from the CPU", **what, **errors)


def eager(session: Session) -> None:
    """Plain torch in bf16: stages, a plan, and the kernels of a round."""
    for causal in (True, False):
        session.attempt(partial(_eager, session, causal), phase="eager", causal=causal)


def _eager(session: Session, causal: bool) -> None:
    subject = _full(session, causal, session.sizes[-1])
    scene = subject.observe()
    futures = subject.imagine(scene)
    future = subject.engine.pick(futures, 0)
    stages: dict[str, Callable[[], Any]] = {
        "observe": subject.observe,
        "imagine": lambda: subject.imagine(scene),
        "evaluate": lambda: subject.evaluate(futures),
        "act": lambda: subject.act(future),
        "plan": subject.plan,
    }
    times = {name: session.time(stage, 3, 1).p50 for name, stage in stages.items()}
    session.say("eager", causal=causal, ms=times, peak_gb=session.peak_gigabytes())
    if session.on_gpu and causal:
        _say_kernels(session, lambda: subject.evaluate(subject.imagine(scene)))


def _say_kernels(session: Session, work: Callable[[], Any]) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
        session.wait()
    events = (row for row in profiled.key_averages() if row.self_device_time_total > 0.0)  # not the calls of the host
    rows = sorted(events, key=lambda row: -row.self_device_time_total)
    microseconds = sum(row.self_device_time_total for row in rows)
    session.say("kernels of a round", launches=sum(row.count for row in rows), ms=microseconds / 1e3)
    for row in rows[:NUM_KERNELS]:
        share = row.self_device_time_total / microseconds
        session.say("kernel", name=row.key[:90], calls=row.count, ms=row.self_device_time_total / 1e3, share=share)


def attention(session: Session) -> None:
    """How fast each backend serves each attention; the text's with a mask and without padding."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for name, (batch, queries, keys, heads, width) in _attentions(session).items():
        q, k, v = (_heads(session, batch, tokens, heads, width) for tokens in (queries, keys, keys))
        work = partial(functional.scaled_dot_product_attention, q, k, v)
        operations = 4e-9 * batch * queries * keys * heads * width
        rates: dict[str, float | str] = {"default": operations / session.time(work, 5).p50}
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
            try:
                with sdpa_kernel(backend):
                    rates[backend.name.split("_")[0].lower()] = operations / session.time(work, 5).p50
            except RuntimeError:
                rates[backend.name.split("_")[0].lower()] = "refused"
        session.say("attention", name=name, tflops=rates)
    config, futures = session.config, session.sizes[-1][0]
    tokens, words = config.text.max_tokens, max(1, config.text.max_tokens // 4)
    heads, width = config.video.num_attention_heads, config.video.attention_head_dim
    query = _heads(session, 1, futures * config.num_future_frames * config.num_tokens_per_frame, heads, width)
    key = _heads(session, 1, tokens, heads, width)
    bias = torch.zeros(1, 1, 1, tokens, device=session.device, dtype=torch.bfloat16)
    bias[..., words:] = -10000.0
    few = key[:, :, :words]
    forms = {
        "masked": partial(functional.scaled_dot_product_attention, query, key, key, attn_mask=bias),
        "words only": partial(functional.scaled_dot_product_attention, query, few, few),
    }
    times = {name: session.time(form).p50 for name, form in forms.items()}
    session.say("attention to text", ms=times, difference=relative_error(*(form() for form in forms.values())))


def _attentions(session: Session) -> dict[str, tuple[int, int, int, int, int]]:
    """Batch, queries, keys, heads and head width, by name."""
    config, (futures, draws) = session.config, session.sizes[-1]
    views, tokens = config.num_views, config.num_tokens_per_frame
    future = config.num_future_frames * tokens
    every = future + config.num_memory_frames * tokens
    video = config.video.num_attention_heads, config.video.attention_head_dim
    value = config.value.num_attention_heads, config.value.attention_head_dim
    steps = config.horizon.value_horizon
    return {
        "all views, causal memory": (futures, views * future, views * every, *video),
        "one view, causal memory": (views * futures, future, every, *video),
        "all views, full memory": (futures, views * every, views * every, *video),
        "one view, full memory": (views * futures, every, every, *video),
        "value to video": (futures, draws * steps, views * every, *value),
        "value to itself": (futures * draws, steps, steps, *value),
    }


def _heads(session: Session, batch: int, tokens: int, heads: int, width: int) -> Tensor:
    """[B, heads, S, width] as the networks have it."""
    return torch.randn(batch, tokens, heads, width, device=session.device, dtype=torch.bfloat16).transpose(1, 2)


def fp8(session: Session) -> None:
    """The video DiT's matrix products in bf16, and in fp8 with a scale per row, its activations' scales included."""
    config, futures = session.config, session.sizes[-1][0]
    rows = futures * config.num_views * config.num_future_frames * config.num_tokens_per_frame
    hidden = config.video.hidden_size
    for fan_in, fan_out in ((hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)):
        shape = rows, fan_in, fan_out
        session.attempt(partial(_fp8_product, session, *shape), phase="fp8", shape=shape)


def _fp8_product(session: Session, rows: int, fan_in: int, fan_out: int) -> None:
    x = torch.randn(rows, fan_in, device=session.device, dtype=torch.bfloat16)
    weight = torch.randn(fan_out, fan_in, device=session.device, dtype=torch.bfloat16) * fan_in**-0.5
    kept, quantized = quantized_rows(weight), quantized_rows(x)
    forms: dict[str, Callable[[], Any]] = {
        "bf16": lambda: functional.linear(x, weight),
        "fp8": lambda: scaled_product(quantized, kept, None),
        "quantise": lambda: quantized_rows(x),
        "fp8 from bf16": lambda: scaled_product(quantized_rows(x), kept, None),
    }
    times = {name: session.time(form, 5).p50 for name, form in forms.items()}
    error = relative_error(forms["fp8"](), forms["bf16"]())
    tflops = 2e-9 * rows * fan_in * fan_out / times["fp8"]
    session.say("fp8 product", shape=[rows, fan_in, fan_out], ms=times, fp8_tflops=tflops, error=error)


def compiled(session: Session) -> None:
    """Blocks compiled one by one: how long that takes, how many graphs it makes, and a plan."""
    if not session.on_gpu:
        session.say("left out", phase="compiled", why="what it takes on a CPU is of no interest")
        return
    for causal in (True, False):
        session.attempt(partial(_compiled, session, causal), phase="compiled", causal=causal)


def _compiled(session: Session, causal: bool) -> None:
    from torch._dynamo.utils import counters

    plain = _full(session, causal, session.sizes[-1]).answers()
    counters.clear()
    subject = _full(session, causal, session.sizes[-1], compile=True)
    began = time.monotonic()
    found = subject.answers()
    session.wait()
    seconds = time.monotonic() - began
    graphs = counters["stats"]["unique_graphs"]
    differ = relative_error(found.values, plain.values)
    session.say("compiled", causal=causal, seconds=seconds, graphs=graphs, values_differ=differ)
    session.say("compiled plan", causal=causal, ms=session.time(subject.plan, 3, 1).p50)


def graphs(session: Session) -> None:
    """Rounds recorded as CUDA graphs, with compiled blocks and without."""
    if not session.on_gpu:
        session.say("left out", phase="graphs", why="CUDA graphs need a GPU")
        return
    for compile_too in (False, True):
        session.attempt(partial(_recorded, session, compile_too), phase="graphs", compiled=compile_too)


def _recorded(session: Session, compile_too: bool) -> None:
    plain = _full(session, True, session.sizes[-1]).answers()
    session.forget()
    subject = _full(session, True, session.sizes[-1], compile=compile_too, cuda_graphs=True)
    subject.answers()
    differ = relative_error(subject.answers().values, plain.values)
    plan = session.time(subject.plan, 5, 1).p50
    peak = session.peak_gigabytes()
    session.say("recorded plan", compiled=compile_too, ms=plan, values_differ=differ, peak_gb=peak)


def threads(session: Session) -> None:
    """A plan in a thread of its own while another one shows a future, as on the robot; both by one engine."""
    subject = _tiny(session.device, True, (8, 4) if session.on_gpu else (2, 1), cuda_graphs=True)
    expected, scene = subject.plan().actions, subject.observe()
    problems: list[str] = []

    def plan() -> None:
        try:
            errors = [relative_error(subject.plan().actions, expected) for _ in range(5 if session.on_gpu else 1)]
            problems.extend(f"actions differ by {error:.2g}" for error in errors if not error < TOLERANCE["fp32"])
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}"[:200])

    shown = 0
    with ThreadPoolExecutor(1) as other:  # which is waited for, whatever happens here
        planning = other.submit(plan)
        while not planning.done():
            subject.engine.denoise(scene, subject.video_noise[:1], 2)
            subject.evaluate(subject.imagine(scene))
            shown += 1
    session.judge(not problems, "two threads", "threads", shown=shown, problems=problems)


def plans(session: Session) -> None:
    """The table of the whole run: what a plan takes, and how far that is from what the arithmetic needs."""
    if "gemm_flops" not in session.facts:  # this phase alone was asked for
        machine(session)
    for sizes in reversed(session.sizes):
        for causal in (True, False):
            if session.left < PLAN_SECONDS:
                session.say("left out", phase="plans", why=f"M, N = {sizes}, causal {causal}: no time is left")
                continue
            what: dict[str, Any] = {"phase": "plans", "sizes": sizes, "causal": causal}
            exact = session.attempt(partial(_exact_plan, session, sizes, causal), **what, dtype="fp32")
            for dtype in ("bf16", "fp8"):
                said = partial(_say_plan, session, exact, sizes, causal, dtype)
                session.attempt(said, **what, dtype=dtype)


def _exact_plan(session: Session, sizes: tuple[int, int], causal: bool) -> LatentPlan:
    return _full(session, causal, sizes, dtype="fp32").plan()


def _say_plan(session: Session, exact: LatentPlan | None, sizes: tuple[int, int], causal: bool, dtype: str) -> None:
    """How far it is from the plan in float32 is not said where that did not fit."""
    how, subject = _fastest(session, causal, sizes, dtype)
    plan = subject.plan()
    times = session.time(subject.plan, 100, 1, limit=6.0)
    work = Workload(NUM_ITERATIONS, *sizes, NUM_STEPS)
    floor = total(plan_cost(subject.config, work, cached=True)).flops / session.facts["gemm_flops"]
    session.say(
        "plan",
        model=session.preset,
        plan=f"K={NUM_ITERATIONS}, M={sizes[0]}, N={sizes[1]}, {'causal' if causal else 'full'} memory, {dtype}, {how}",
        p50_ms=times.p50,
        p99_ms=times.p99,
        plans=len(times.milliseconds),
        peak_gb=session.peak_gigabytes(),
        floor_ms=1e3 * floor,
        of_gemm_rate=1e3 * floor / times.p50,
        **({} if exact is None else _from_exact(plan, exact, subject.planner)),
    )


def _from_exact(plan: LatentPlan, exact: LatentPlan, planner: PlannerConfig) -> dict[str, float]:
    found, expected = plan.rounds[0], exact.rounds[0]
    return {
        "video_elites_as_fp32": elites_in_common(found.video_score, expected.video_score, planner.num_video_elites),
        "value_elites_as_fp32": elites_in_common(found.pair_score, expected.pair_score, planner.num_value_elites),
        "actions_differ_from_fp32": relative_error(plan.actions, exact.actions),
    }


def _fastest(session: Session, causal: bool, sizes: tuple[int, int], dtype: str) -> tuple[str, Subject]:
    """The first engine that works and fits, which has planned once, and how it runs: compiled and recorded, recorded,
    eager."""
    ways: list[tuple[str, dict[str, bool]]] = []
    if session.on_gpu and session.left > COMPILE_SECONDS:
        ways.append(("compiled and recorded", {"compile": True, "cuda_graphs": True}))
    if session.on_gpu:
        ways.append(("recorded", {"cuda_graphs": True}))
    for how, options in ways:
        try:
            return how, _planned(session, causal, sizes, dtype=dtype, **options)
        except Exception as error:  # the next best plan is worth knowing all the same
            session.say(f"not {how}", error=f"{type(error).__name__}: {error}"[:200])
        session.forget()  # what it held
    return "eager", _planned(session, causal, sizes, dtype=dtype)


def _planned(session: Session, causal: bool, sizes: tuple[int, int], **options: Any) -> Subject:
    subject = _full(session, causal, sizes, **options)
    subject.plan()
    return subject


def _full(session: Session, causal: bool, sizes: tuple[int, int], **options: Any) -> Subject:
    """Of the preset that is measured, in bf16 unless the options say otherwise."""
    if options.get("compile"):
        torch._dynamo.reset()  # else its blocks count towards the limit of those that were compiled before
    planner = published_planner(NUM_ITERATIONS, *sizes, NUM_STEPS)
    model = model_of(session.preset, causal=causal, device=session.device)
    subject = Subject(model, planner, **{"dtype": "bf16", **options})
    del model
    session.forget()  # the float32 weights it was made from
    return subject
