"""`wav doctor`: one screen about this installation; with `--faults --sim`, the fault campaign."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from wav_models.command_line import Flag, parsed
from wav_models.configuration import ConfigurationError
from wav_models.endings import FAILED, OK
from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.bringup.discovery import VARIABLE, limit_to_this_host
from wav_policy.bringup.paths import find_checkpoint
from wav_policy.cli.json_output import STANDARD_OUTPUT, write_result
from wav_policy.cli.options import typed

SUPPORTED_PYTHON = ((3, 10), (3, 13))
_ARPHRD_CAN = "280"
_NETWORK = Path("/sys/class/net")


class Level(Enum):
    """How serious a finding is; only FAIL makes the exit code 1."""

    OK = "green"
    NOTE = "yellow"
    FAIL = "red"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and the remedy where it is not well."""

    subject: str
    level: Level
    text: str


@dataclass(frozen=True)
class DoctorArguments:
    """Check this installation: Python, rendering, ROS 2, CAN interfaces, checkpoint, engines."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory to load."""
    faults: Flag = False
    """Instead, start the system and let everything go wrong that may (needs --sim); takes about ten minutes."""
    sim: Flag = False
    """With --faults: on the simulated robot. There is no campaign on a real one."""
    only: tuple[str, ...] = ()
    """With --faults: faults whose name contains one of these texts."""
    json: Path | None = None
    """With --faults: where to write the table; `--json` alone: to standard output."""


def main(argv: list[str]) -> int:
    """Exit code 1 when something that the demo needs is missing, or a fault does not end as it must."""
    arguments = parsed(DoctorArguments, "wav doctor", argv)
    if arguments.faults:
        return run_faults(arguments)
    if arguments.sim or arguments.only or arguments.json is not None:
        raise ConfigurationError("--sim, --only and --json belong to --faults; without it they do nothing")
    console = Console(highlight=False)
    failed: list[str] = []
    for subject, check in checks(arguments):
        with console.status(f"{subject} ...") if console.is_terminal else progress(subject):
            findings = examine(subject, check)
        for finding in findings:
            if finding.level is Level.FAIL:
                failed.append(finding.subject)
            mark = f"[{finding.level.value}]{finding.level.name:<4}[/]"
            console.print(f"{mark}  {finding.subject:<11} {escape(finding.text)}", soft_wrap=True)
    print(f"mend first: {failed[0]}" if failed else f"all that the demo needs is here; try `{typed()} demo`")
    return FAILED if failed else OK


def run_faults(arguments: DoctorArguments) -> int:
    """The fault campaign on the simulated robot."""
    if not arguments.sim:
        raise ValueError("--faults needs --sim: faults are injected into a simulated robot only")
    checkpoint = (f"checkpoint:={find_checkpoint(arguments.checkpoint)}",)
    from wav_policy.experiments.faults.campaign import chosen, run
    from wav_policy.experiments.faults.outcome import HEADING, Outcome, line

    outcomes: list[Outcome] = []
    screen = sys.stderr if arguments.json == STANDARD_OUTPUT else sys.stdout
    faults = chosen(arguments.only)
    print(HEADING, file=screen, flush=True)
    with progress("faults") as tell:
        for outcome in run(faults, arguments=checkpoint, tell=lambda text: tell(len(outcomes), len(faults), text)):
            outcomes.append(outcome)
            print(line(outcome), file=screen, flush=True)
    if arguments.json is not None:
        write_result([asdict(outcome) for outcome in outcomes], arguments.json)
    return OK if all(outcome.passed for outcome in outcomes) else FAILED


def checks(arguments: DoctorArguments) -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
    """What is looked at, in this order."""
    yield "python", check_python
    yield "rendering", check_rendering
    yield "ros 2", check_ros
    yield "can", check_can
    yield "priority", check_priority
    yield "checkpoint", lambda: check_checkpoint(arguments.checkpoint)
    yield "engines", lambda: check_engines(arguments.checkpoint)


def examine(subject: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of a check; whatever it raises is a finding too."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:  # a diagnosis must reach its end
        findings.append(Finding(subject, Level.FAIL, f"{type(error).__name__}: {error}"))
    return findings


def check_python() -> Iterator[Finding]:
    """Interpreter and machine."""
    lowest, highest = SUPPORTED_PYTHON
    supported = lowest <= sys.version_info[:2] <= highest
    text = f"{platform.python_version()} in {sys.prefix}; {platform.machine()}, {counted(os.cpu_count() or 1, 'core')}"
    if not supported:
        text += f"; needs {'.'.join(map(str, lowest))} to {'.'.join(map(str, highest))}"
    yield Finding("python", Level.OK if supported else Level.FAIL, text)


def check_rendering() -> Iterator[Finding]:
    """One image of the simulated head camera."""
    import time

    from wav_policy.sim.tasks import make_task
    from wav_policy.sim.world import World

    world = World(make_task("bowl"))
    try:
        world.render("head")
        start = time.perf_counter()
        world.render("head")
        milliseconds = 1e3 * (time.perf_counter() - start)
    finally:
        world.close()
    backend, version = os.environ.get("MUJOCO_GL"), importlib.metadata.version("mujoco")
    yield Finding("rendering", Level.OK, f"MuJoCo {version}, {backend}, {milliseconds:.0f} ms an image")


def check_ros() -> Iterator[Finding]:
    """rclpy, and whether the launch package is there."""
    import rclpy

    limit_to_this_host()
    rclpy.init()
    try:
        rmw = rclpy.get_rmw_implementation_identifier()
    finally:
        rclpy.shutdown()
    reach = os.environ[VARIABLE]
    yield Finding("ros 2", Level.OK, f"rclpy, {rmw}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}, discovery {reach}")
    if importlib.util.find_spec("launch_ros") is None:
        yield Finding("ros 2", Level.NOTE, "no launch package: start with `wav up` instead of `ros2 launch`")


def check_can() -> Iterator[Finding]:
    """SocketCAN interfaces; without any, only the simulation runs."""
    found = [device for device in sorted(_NETWORK.glob("*")) if _read(device / "type") == _ARPHRD_CAN]
    for device in found:
        state = _read(device / "operstate")
        level = Level.OK if state in ("up", "unknown") else Level.NOTE
        remedy = (
            "" if level is Level.OK else f"; sudo ip link set {device.name} up type can bitrate 1000000 restart-ms 100"
        )
        yield Finding("can", level, f"{device.name} is {state}{remedy}")
    if not found:
        yield Finding("can", Level.NOTE, "no SocketCAN interface: only sim:=true, or can_interface:=slcan")


def check_priority() -> Iterator[Finding]:
    """Whether the driver of the arms may run before every ordinary process; tried in a process that ends at once."""
    from wav_policy.bringup.node_parameters import PiperNodeConfig

    priority = PiperNodeConfig.realtime_priority
    try_it = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({priority}))"
    if subprocess.run([sys.executable, "-I", "-S", "-c", try_it], capture_output=True, check=False).returncode == 0:
        yield Finding("priority", Level.OK, "piper_node may run before every ordinary process")
    else:
        permit = f'echo "$USER - rtprio {priority}" | sudo tee /etc/security/limits.d/wav_policy.conf'
        yield Finding("priority", Level.NOTE, f"a busy computer delays the arms' driver; {permit}, and log in again")


def check_checkpoint(checkpoint: Path) -> Iterator[Finding]:
    """Loads it strictly."""
    from wav_models.checkpoint import load_checkpoint

    directory = find_checkpoint(checkpoint)
    loaded = load_checkpoint(directory)
    megabytes = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
    yield Finding("checkpoint", Level.OK, f"{directory}: {loaded.config.name}, {megabytes:.0f} MB")


def check_engines(checkpoint: Path) -> Iterator[Finding]:
    """What can run the networks here, and what `engine:=auto` takes for this checkpoint."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    yield Finding("engines", Level.OK, f"torch {torch.__version__} on {device}")
    import onnxruntime

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Finding("engines", Level.OK, f"onnxruntime {onnxruntime.__version__}: {providers}")
    runtimes = [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name)]
    if runtimes:
        yield Finding("engines", Level.OK, ", ".join(runtimes))
    elif shutil.which("nvidia-smi"):
        yield Finding("engines", Level.NOTE, "an NVIDIA driver but no TensorRT: pip install 'wav-policy[gpu]'")
    from wav_policy.policy.wav_policy import WAVPolicy

    policy = WAVPolicy.load(find_checkpoint(checkpoint), dtype="auto", num_threads=1)
    yield Finding("engines", Level.OK, f"engine:=auto takes {policy.description}")


def _read(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""
