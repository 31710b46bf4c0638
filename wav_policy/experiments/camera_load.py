"""What three cameras cost policy and recorder at once: processor time by thread, pictures lost, their age when used.

Everything runs as it does on the robot, in processes of its own over DDS; only cameras and arms are stood in for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from wav_models.data.dataset import Dataset, Episode
from wav_models.progress import progress
from wav_models.signals import die_with_parent
from wav_models.words import counted
from wav_policy.bringup.arguments import parse
from wav_policy.bringup.node_table import launches
from wav_policy.bringup.supervisor import Supervisor
from wav_policy.monitor.snapshot import PLANNING
from wav_policy.nodes.clients.recorder_client import RECORDER, RecorderClient
from wav_policy.nodes.runtime.polling import SUBSCRIPTIONS
from wav_policy.policy.observation import IMAGE_TOPICS
from wav_policy.robot.cameras import VIEWS

NODES: Final = ("policy_node", "recorder_node")
_NAMESPACE: Final = "camera_load"
"""A system that runs in the same domain is left alone."""
_OBSERVATION: Final = "policy_node: observation"
_LOADED_WITHIN: Final = 300.0
_READY_WITHIN: Final = 60.0
"""[s]"""
_SETTLED: Final = 3.0
"""First plans are of another kind; and the last reports come [s]."""


def measure_cameras(
    size: tuple[int, int], rate: float, encoding: str, seconds: float, directory: Path, checkpoint: Path
) -> dict[str, Any]:
    """Start three cameras, arms, policy_node and recorder_node, and look at them while an episode is recorded.

    Args:
        size: (width, height) of the pictures [px].
        rate: of each camera [Hz].
        encoding: rgb8 or jpeg.
        seconds: how long is looked.
        directory: empty, for the dataset and the nodes' log.
        checkpoint: what plans.

    Returns:
        What was given, `shares` of a core by process and kind of thread, pictures `published` and `taken` in the whole
        run by topic, `age_ms` of a picture when it is used (p50, p99), and what was `recorded`, with the frames where
        an older picture stands in for one that did not come.

    Raises:
        RecorderGoneError: a node did not come up, or ended; `directory`/nodes.log says why.
        ServiceError: the same of one that refused.
    """
    dataset = directory / "dataset"
    given = {"record": "true", "dataset": str(dataset), "checkpoint": str(checkpoint), "namespace": _NAMESPACE}
    table = launches(parse({**given, "instruction": "put the bowl on the plate"}))
    with (
        progress("watching") as tell,
        (directory / "nodes.log").open("w") as log,
        Supervisor(lambda line: print(line, file=log, flush=True)) as supervisor,
    ):
        supervisor.start(node for node in table if node.name in NODES)
        with closing(RecorderClient(lambda: str(supervisor.poll() or ""), _NAMESPACE)) as client:
            client.await_recorder()
            client.configure("policy_node", _LOADED_WITHIN)
            pids = supervisor.process_ids()
            with _cameras(size, rate, encoding) as cameras:
                client.wait(lambda: client.recorder.message == "ready", _READY_WITHIN, lambda: client.recorder.message)
                client.activate("policy_node")
                client.trigger("recorder/start")
                client.wait(
                    lambda: "plan_ms_p50" in client.reports[PLANNING].values,
                    _READY_WITHIN,
                    lambda: client.reports[PLANNING].message,
                )
                client.spin_until(lambda: False, _SETTLED)
                load, began, before = os.getloadavg()[0], time.monotonic(), _processor_times(cameras.pid, pids)

                def tick() -> bool:
                    tell(round(time.monotonic() - began), round(seconds))
                    return False

                client.spin_until(tick, seconds)
                after, seconds = _processor_times(cameras.pid, pids), time.monotonic() - began
                client.trigger("recorder/stop")
                cameras.send_signal(signal.SIGTERM)
                told = json.loads(cameras.communicate(timeout=_READY_WITHIN)[0])
            client.spin_until(lambda: False, _SETTLED)
            policy, observation, recorder = (client.reports[name] for name in (PLANNING, _OBSERVATION, RECORDER))
    episode = Dataset(dataset).read_episode(0)
    return {
        "size": list(size),
        "rate": rate,
        "encoding": encoding,
        "seconds": seconds,
        "load_before": load,
        **told,
        "shares": {
            name: {kind: (spent - before[name][kind]) / seconds for kind, spent in kinds.items()}
            for name, kinds in after.items()
        },
        "taken": {
            node: {topic: int(report.values[f"{topic} taken"]) for topic in IMAGE_TOPICS.values()}
            for node, report in zip(NODES, (observation, recorder), strict=True)
        },
        "age_ms": {
            "a plan begins": [policy.number(f"observation_age_ms_{percentile}") for percentile in ("p50", "p99")],
            "a frame is due": _recorded_ages(episode),
        },
        "recorded": {"frames": len(episode), "bridged": episode.info.extra["bridged"]},
    }


@contextmanager
def _cameras(size: tuple[int, int], rate: float, encoding: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [_NAMESPACE, *map(str, size), str(rate), encoding]
    process = subprocess.Popen(
        [sys.executable, "-m", "wav_policy.experiments.camera_streams", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _processor_times(cameras: int, nodes: Mapping[str, int]) -> dict[str, Counter[str]]:
    """Processor time so far [s], by process and kind of thread."""
    times: dict[str, Counter[str]] = {}
    for name, pid in {"cameras": cameras, **nodes}.items():
        times[name] = Counter()
        for thread in psutil.Process(pid).threads():
            times[name][_kind(pid, thread.id)] += thread.user_time + thread.system_time
    return times


def _kind(pid: int, thread: int) -> str:
    """The executor spins in the main thread, unless it has several; the middleware's threads have names."""
    if thread == pid:
        return "main thread"
    name = Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    return {"dds": "middleware", SUBSCRIPTIONS: SUBSCRIPTIONS}.get(name.partition(".")[0], "others")


def camera_text(measured: dict[str, Any]) -> str:
    """The result of `measure_cameras` as tables in Markdown."""
    kinds = list(dict.fromkeys(kind for kinds in measured["shares"].values() for kind in kinds))
    width, height = measured["size"]
    lines = [
        f"3 x {width} x {height} px, {measured['encoding']} ({measured['bytes']} bytes) at {measured['rate']:g} Hz for "
        f"{measured['seconds']:.0f} s; load average before {measured['load_before']:.1f}",
        "",
        f"| share of a core [%] | {' | '.join(kinds)} | together |",
        "|---|" + "---|" * (len(kinds) + 1),
    ]
    for name, shares in measured["shares"].items():
        cells = [f"{100.0 * shares[kind]:.1f}" if kind in shares else "" for kind in kinds]
        lines.append(f"| {name} | {' | '.join(cells)} | {100.0 * sum(shares.values()):.1f} |")
    lines += ["", f"| pictures of a camera | {' | '.join(measured['published'])} |", "|---|---|---|---|"]
    for name, counts in {"published": measured["published"], **measured["taken"]}.items():
        lines.append(f"| {name} | {' | '.join(map(str, counts.values()))} |")
    lines += ["", "| age of a picture when | p50 [ms] | p99 [ms] |", "|---|---|---|"]
    lines += [f"| {name} | {p50:.1f} | {p99:.1f} |" for name, (p50, p99) in measured["age_ms"].items()]
    recorded = measured["recorded"]
    bridged = ", ".join(f"{source} {count}" for source, count in recorded["bridged"].items()) or "none"
    return "\n".join([*lines, "", f"recorded: {counted(recorded['frames'], 'frame')}, bridged: {bridged}"])


def _recorded_ages(episode: Episode) -> list[float]:
    """Of all cameras' pictures at the tick of their frame, percentiles 50 and 99 [ms]."""
    assert episode.source_times is not None
    ages = episode.capture_times[:, None] - episode.source_times[:, : len(VIEWS)]
    return [float(age) for age in np.percentile(1e3 * ages, [50, 99])]
