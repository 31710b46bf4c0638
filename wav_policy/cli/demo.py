"""`wav demo`: the whole system on the simulation, the trained policy at work, measured."""

from __future__ import annotations

import shlex
import sys
import time
from collections import deque
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wav_models import project_files
from wav_models.command_line import Port, parsed
from wav_models.configuration import AtLeastOne, Count, Positive, read
from wav_models.endings import OK, is_interrupt
from wav_models.progress import time_left
from wav_policy.bringup import paths
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT, LaunchArguments, parse
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import launches
from wav_policy.bringup.supervisor import Supervisor
from wav_policy.cli.demo_page import DemoPage
from wav_policy.cli.demo_report import DemoReport, EpisodeResult, Screen
from wav_policy.cli.json_output import STANDARD_OUTPUT, write_result
from wav_policy.cli.options import check_film, refuse_idle, typed
from wav_policy.monitor.snapshot import CONTROL, NODES, PLANNING, WORLD_REPORT
from wav_policy.sim.tasks import make_task

if TYPE_CHECKING:
    from wav_policy.nodes.clients.system_client import Report, SystemClient

LOG = "demo.log"
NEXT = """next: `{wav} demo --task towel` is another task, `--video demo.mp4` films it, `--planner num_iterations=0`
plans nothing; `{wav} doctor --faults --sim --only camera` makes cameras fail; docs/try_it.md, docs/my_data.md"""
_LAST_LINES = 15
_HOME_PATIENCE = 20.0
"""For arms that do not go home because something is late on a busy computer [s]."""
_LAYOUT_PATIENCE = 60.0
"""Until the simulation says on /diagnostics that it has laid out the task anew [s]."""


class DemoError(RuntimeError):
    """The system did not come up or fell down; the message says what is missing."""


@dataclass(frozen=True)
class DemoArguments:
    """Let the trained policy work on a task in the simulation; stops by itself, or with Ctrl-C."""

    headless: bool = False
    """Plain lines instead of a live table."""
    episodes: AtLeastOne = 10
    """How many episodes are played."""
    seed: Count = 0
    """Layout of the first episode; the following ones count up."""
    json: Path | None = None
    """Write the measured numbers to this file."""
    task: str = "drawer"
    """What is on the table."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Checkpoint directory."""
    engine: str = "auto"
    """What runs the networks: auto, torch, onnxruntime or tensorrt."""
    planner: tuple[str, ...] = ()
    """Parameters of the planner in place of the checkpoint's, as NAME=VALUE: num_iterations=0 for no planning."""
    time_limit: Positive | None = None
    """An episode without success ends after this simulated time [s]; the task's own when not given."""
    startup_timeout: Positive = 600.0
    """Time for all nodes to come up [s]; the first time the networks' graphs are made meanwhile."""
    monitor: bool = True
    """Serve the page that shows what the robot sees and imagines; opened in a browser unless headless."""
    port: Port = 8080
    """Port of the page; a free one is taken where it is in use."""
    video: Path | None = None
    """Film the demo: cameras, imagined futures, value and captions, as .mp4, as a small .gif, as .rrd for Rerun, or as
    .mcap for Foxglove."""
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    """Show what the nodes print."""


class NodeOutput:
    """What the nodes print: to a file, the last lines kept, optionally to the terminal.

    Attributes:
        starting: while it is true, the policy node's warnings are printed in any case: why it takes so long to come up,
            and that it will have no time to plan.
    """

    def __init__(self, verbose: bool) -> None:
        self.path = paths.runtime_directory() / LOG
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._file = paths.open_log(LOG)
        self._verbose = verbose
        self.starting = True

    def write(self, line: str) -> None:
        """One line of one node."""
        self._file.write(line + "\n")
        self.last.append(line)
        if self._verbose or (self.starting and "[WARN]" in line and "policy_node" in line):
            print(line, flush=True)


class Demo:
    """The episodes of one run."""

    def __init__(
        self,
        arguments: DemoArguments,
        report: DemoReport,
        client: SystemClient,
        supervisor: Supervisor,
        page: DemoPage | None,
    ) -> None:
        self._arguments = arguments
        self._page = page
        self._report = report
        self._client = client
        self._supervisor = supervisor
        self._time_limit = arguments.time_limit or make_task(arguments.task).time_limit

    def await_readiness(self, screen: Screen) -> None:
        """Wait until all managed nodes are active and the simulation reports; tell what is waited for as it changes.

        Raises:
            DemoError: names what is missing.
        """
        began, told = time.monotonic(), ""
        while missing := "; ".join(self._missing()):
            waited = time.monotonic() - began
            if waited > self._arguments.startup_timeout:
                raise DemoError(f"not ready after {self._arguments.startup_timeout:g} s: {missing}")
            if missing != told:
                screen.say(f"waiting: {missing}")
                told = missing
            screen.refresh(f"nodes come up, {waited:.0f} s; waiting: {missing}")
            self._client.spin_until(lambda: not self._missing(), 1.0)

    def _missing(self) -> list[str]:
        self._check()
        reports = self._client.reports
        missing = [f"nothing heard of {name!r}" for name in (WORLD_REPORT, NODES) if name not in reports]
        if self._page is not None and not self._page.is_up():
            missing.append(f"no page at {self._page.url}")
        if NODES in reports and reports[NODES].message != "all nodes active":
            missing.append(reports[NODES].message)
        return missing

    def run(self, screen: Screen) -> None:
        """All episodes; every finished one is in the report, also when interrupted."""
        first, began = self._arguments.seed, time.monotonic()
        for number, seed in enumerate(range(first, first + self._arguments.episodes), start=1):
            title = f"episode {number} of {self._arguments.episodes}, seed {seed}"
            screen.refresh("arms go home")
            self._prepare(seed, screen)
            screen.say(f"{title}: {self._world().values['instruction']}")
            result = self._play(seed, title, screen)
            self._report.episodes.append(result)
            verdict = "success" if result.success else "no success"
            rest = self._arguments.episodes - number
            left = f"; {time_left((time.monotonic() - began) / number * rest)}" if rest else ""
            screen.say(f"{title}: {verdict} after {result.seconds:.1f} s; {self._brief()}{left}")

    def _brief(self) -> str:
        rows = dict(self._report.rows())
        parts = ("plans", "plan within (50 / 99 %)", "control rate", "real-time factor")
        return ", ".join(f"{part} {rows[part]}" for part in parts)

    def _prepare(self, seed: int, screen: Screen) -> None:
        """Policy off, arms home, new layout, policy on."""
        self._go_home(screen)
        is_there = self._client.lay_out(seed)
        deadline = time.monotonic() + _LAYOUT_PATIENCE
        while not self._client.spin_until(is_there, 1.0):
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f"sim_node does not report the layout of seed {seed} within {_LAYOUT_PATIENCE:g} s")
            screen.refresh("waiting for the new layout")
        self._client.activate("policy_node")

    def _go_home(self, screen: Screen) -> None:
        """Policy off, arms home; an emergency stop from the page is waited out, and for a while a late measurement."""
        from wav_policy.nodes.clients.system_client import ServiceError

        deadline = time.monotonic() + _HOME_PATIENCE
        while True:
            try:
                if self._client.reports[NODES].values.get("policy_node") == "active":  # as far as was heard
                    self._client.deactivate("policy_node")
                self._client.trigger("piper/home", timeout=30.0)
                return
            except ServiceError as error:
                is_stopped = self._client.reports[CONTROL].message.startswith("stopped")
                if (is_stopped and self._arguments.headless) or (not is_stopped and time.monotonic() > deadline):
                    raise
                stopped = "stopped by the operator: Reset after a stop, then Start, on the page"
                screen.refresh(stopped if is_stopped else f"again: {error}")
                if "piper/enable" in str(error) and not is_stopped:  # an arm leant on something
                    with suppress(ServiceError):
                        self._client.switch("piper/enable", True, 30.0)
            self._client.spin_until(lambda: False, 1.0)
            self._check()

    def _play(self, seed: int, title: str, screen: Screen) -> EpisodeResult:
        """Watch until success or the time limit."""
        while True:
            self._client.spin_until(lambda: False, 0.25)
            self._check()
            self._measure()
            world = self._world()
            seconds = float(world.values["episode_time"])
            success = world.values["success"] == "True"
            screen.refresh(f"{title}, {seconds:.1f} s: {world.values['instruction']}")
            if success or seconds > self._time_limit:
                return EpisodeResult(seed, success, seconds)

    def _world(self) -> Report:
        return self._client.reports[WORLD_REPORT]

    def _measure(self) -> None:
        import numpy as np

        report, reports = self._report, self._client.reports
        ages = self._client.chunk_ages
        report.plans = len(ages)
        if ages:
            report.chunk_age_ms_p99 = float(1e3 * np.percentile(ages, 99))
        if PLANNING in reports:
            report.engine = reports[PLANNING].values.get("engine")
            report.plan_ms_p50 = reports[PLANNING].number("plan_ms_p50")
            report.plan_ms_p99 = reports[PLANNING].number("plan_ms_p99")
            self._measure_planning(reports[PLANNING])
        if CONTROL in reports:
            report.control_hz = reports[CONTROL].number("control_rate_hz")
            report.control_lateness_ms_p99 = reports[CONTROL].number("lateness_p99_ms")
        factor = self._world().number("real_time_factor")
        report.real_time_factor = min(filter(None, (factor, report.real_time_factor)), default=None)

    def _measure_planning(self, planning: Report) -> None:
        report = self._report
        if (planned := planning.number("plans")) is None or not planned:
            report.why_no_plan = planning.message
            return
        report.planned = int(planned)
        report.rounds_mean = planning.number("rounds_mean")
        report.rounds_asked = int(planning.number("rounds_asked") or 0)
        report.plans_without_round = int(planning.number("plans_without_round") or 0)
        report.plans_shed = int(planning.number("plans_shed") or 0)

    def _check(self) -> None:
        if ended := self._supervisor.poll():
            raise DemoError(str(ended))


def main(argv: list[str]) -> int:
    """Exit code 1 when the system fails or acts without the planning that was asked for."""
    arguments = parsed(DemoArguments, "wav demo", argv)
    check_film(arguments.video)
    if not arguments.monitor:
        refuse_idle(arguments, ["port"], "--no-monitor")
    page = DemoPage.choose(arguments.port) if arguments.monitor else None
    launch_arguments = parse(
        {
            "sim": "true",
            "task": arguments.task,
            "checkpoint": arguments.checkpoint,
            "engine": arguments.engine,
            "planner": " ".join(arguments.planner),
            **({"monitor": "true", "monitor_port": str(page.port)} if page is not None else {}),
        }
    )
    limit_to_this_host()
    report = _empty_report(arguments, launch_arguments, "wav demo " + shlex.join(argv))
    output = NodeOutput(arguments.verbose)
    screen = Screen(report, _where_to_look(output, page), arguments.headless, arguments.json == STANDARD_OUTPUT)
    try:
        with Supervisor(output.write) as supervisor:
            supervisor.start(launches(launch_arguments))
            with screen:
                _play(arguments, report, supervisor, screen, page, output)
    except Exception as error:
        if output.last and not is_interrupt(error):
            print(f"The nodes' last words ({output.path}):", *output.last, sep="\n", file=sys.stderr)
        raise
    finally:
        if arguments.json is not None:
            write_result(report.as_json(), arguments.json)
    if report.planned_nothing:
        raise DemoError(f"acted WITHOUT planning: {report.verdict}")
    if arguments.json != STANDARD_OUTPUT:
        print(NEXT.format(wav=typed()))
    return OK


def _empty_report(arguments: DemoArguments, launch_arguments: LaunchArguments, command: str) -> DemoReport:
    """What will be measured: task, checkpoint, policy."""
    from wav_models.checkpoint import checkpoint_hash

    checkpoint = launch_arguments.checkpoint
    sha256 = None if checkpoint is None else checkpoint_hash(checkpoint)
    policy = read(project_files.find("config/policy.yaml"))["/**"]["ros__parameters"]
    return DemoReport(
        arguments.task,
        arguments.checkpoint,
        arguments.episodes,
        command,
        sha256,
        policy,
        planner=launch_arguments.planner,
    )


def _play(
    arguments: DemoArguments,
    report: DemoReport,
    supervisor: Supervisor,
    screen: Screen,
    page: DemoPage | None,
    output: NodeOutput,
) -> None:
    from wav_policy.nodes.clients.system_client import SystemClient
    from wav_policy.nodes.film_maker import FilmMaker

    with closing(SystemClient()) as client:
        demo = Demo(arguments, report, client, supervisor, page)
        screen.refresh("nodes come up")
        demo.await_readiness(screen)
        output.starting = False
        if page is not None and not arguments.headless:
            page.open_browser()
        with ExitStack() as stack:
            if arguments.video:
                stack.callback(screen.say, f"film in {arguments.video}")
                stack.enter_context(closing(FilmMaker(client.node, arguments.video, lambda: screen.now)))
            demo.run(screen)


def _where_to_look(output: NodeOutput, page: DemoPage | None) -> str:
    seen = "" if page is None else f"see and steer it in a browser: {page.url}\n"
    return (
        f"{seen}nodes' output: {output.path}\n"
        "topics (any ROS 2 Jazzy on this host and domain): head/image_raw, imagined/head/image_raw, joint_states, "
        "action_chunk, /diagnostics"
    )
