"""Parameters of every node. `ros2 launch` imports them with the system's Python, which has numpy and yaml only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from wav_models.configuration import AtLeastOne, Count, NotNegative, Positive, Range, check_choice
from wav_models.engines.precision import PRECISIONS
from wav_policy.control.chunk_executor import ChunkingConfig
from wav_policy.control.minimum_jerk import joint_speeds
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.arm_config import INTERFACES, ArmConfig
from wav_policy.policy.chunk_continuation import check_continuation
from wav_policy.policy.instruction import instruction_fault
from wav_policy.policy.observation_config import ObservationConfig
from wav_policy.policy.remote.address import check_address
from wav_policy.recording.live_recorder_config import LiveRecorderConfig
from wav_policy.recording.sources import SamplingLimits
from wav_policy.robot.cameras import TRANSPORTS
from wav_policy.robot.joints import JOINT_DIM, SIDES, both_arms
from wav_policy.sim.firmware.feedback import FeedbackRates
from wav_policy.teleoperation.following import FollowingConfig

ACTION_TOPICS = {"leader": "leader/joint_states", "target": "joint_targets"}
"""What a recorded `action` is: the leader arms' joints, or the targets that `piper_node` executes."""


@dataclass(frozen=True)
class SimConfig:
    """Parameters of `sim_node`.

    Attributes:
        task: what is on the table.
        seed: of the first layout; each `sim/reset` takes the next one, or the one set as parameter `next_seed`.
        can_left, can_right: links to the arms' pseudo-terminals.
        can_leader_left, can_leader_right: links to leader arms' pseudo-terminals, moved by the scripted operator; empty
            means there are none.
        image_rate: images per second and camera [Hz].
        publish_instruction: say the task's instruction on `instruction` after each layout.
        teleport_arms: `sim/reset` also puts the arms at home instead of leaving them where they are.
        feedback: frame rates of the simulated arms [Hz].
    """

    task: str = "bowl"
    seed: Count = 0
    can_left: str = "/tmp/can_left"
    can_right: str = "/tmp/can_right"
    can_leader_left: str = ""
    can_leader_right: str = ""
    image_rate: Annotated[float, Range(0.1, 200.0)] = 20.0
    publish_instruction: bool = True
    teleport_arms: bool = False
    feedback: FeedbackRates = field(default_factory=FeedbackRates)


@dataclass(frozen=True)
class RecorderNodeConfig:
    """Parameters of `recorder_node`.

    Attributes:
        dataset: directory; created when missing, continued when not.
        fps: rate of the dataset [Hz].
        action_source: one of `ACTION_TOPICS`.
        instruction: the command in words until the topic `instruction` says another.
        min_free_megabytes: with less disk space recording ends and does not start [MB].
        efforts: auto or never: whether a dataset that begins has the efforts that joint_states tells.
        image_transport: raw, compressed, or auto: raw where it comes, else compressed.
        sampling: how old captures may be.
    """

    dataset: str = "recordings"
    fps: AtLeastOne = 10
    action_source: str = "target"
    instruction: str = ""
    min_free_megabytes: Count = 500
    efforts: str = "auto"
    image_transport: str = "auto"
    sampling: SamplingLimits = field(default_factory=SamplingLimits)

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        if fault := instruction_fault(self.instruction):
            raise ValueError(fault)
        check_choice("action_source", self.action_source, ACTION_TOPICS)
        check_choice("image_transport", self.image_transport, TRANSPORTS)
        if not self.dataset:
            raise ValueError("dataset is empty; give a directory")
        self.recorder()

    def recorder(self) -> LiveRecorderConfig:
        """The part that concerns the dataset."""
        directory = Path(self.dataset).expanduser().absolute()
        return LiveRecorderConfig(directory, self.fps, self.min_free_megabytes, self.efforts)


@dataclass(frozen=True)
class MonitorConfig:
    """Parameters of `monitor`.

    Attributes:
        host: address to listen on; any but localhost's needs a token, which is printed at the start.
        port: 0 takes a free one.
        rate: updates of the page [Hz].
        token_file: file (mode 600) with the token to ask for; empty: a new one at every start where one is needed.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8080
    rate: Annotated[float, Range(0.1, 30.0)] = 10.0
    token_file: str = ""


@dataclass(frozen=True)
class DiagnosticMarkersConfig:
    """Parameters of `diagnostic_markers`.

    Attributes:
        rate: how often the lines are published [Hz].
        silence: an entry not heard of for this long is grey [s].
        position: of the first line, in the world [m].
    """

    rate: Annotated[float, Range(0.1, 30.0)] = 2.0
    silence: Positive = 3.0
    position: tuple[float, float, float] = (0.6, 0.0, 0.6)


@dataclass(frozen=True)
class PiperNodeConfig:
    """Parameters of `piper_node`.

    Attributes:
        can_interface: "socketcan" or "slcan".
        can_left, can_right: network interfaces (socketcan) or serial devices (slcan).
        usb_left, usb_right: USB serial numbers of the adapters, which are then found whatever they are called; "": the
            names above are believed. `wav arm find` tells them.
        arms: "both"; "left" or "right" runs that arm alone. The other one is then not opened, and its joints are said
            to be where they were sent.
        control_rate: targets per second; two of its periods must fit safety.max_tick [Hz].
        realtime_priority: of all threads, under SCHED_FIFO, where that is permitted; 0: an ordinary process.
        home: pose of piper/home, shape [14], rad and m.
        home_speed: largest joint speed on the way home [rad/s]; grippers at most a tenth of it [m/s].
        park_speed: largest joint speed on the way to the home pose on deactivation, grippers as they are [rad/s]; 0:
            brake and hold where the arms are.
        publish_description: the URDF on robot_description, latched; robot_state_publisher, where it runs, does so.
    """

    can_interface: str = "socketcan"
    can_left: str = "can_left"
    can_right: str = "can_right"
    usb_left: str = ""
    usb_right: str = ""
    arms: str = "both"
    control_rate: Annotated[float, Range(10.0, 500.0)] = 200.0
    realtime_priority: Annotated[int, Range(0, 99)] = 50
    home: tuple[float, ...] = (
        *(0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07),
        *(0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07),
    )
    home_speed: Positive = 0.5
    park_speed: NotNegative = 0.8
    publish_description: bool = False
    arm: ArmConfig = field(default_factory=ArmConfig)
    safety: SafetyLimits = field(default_factory=SafetyLimits)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        check_choice("can_interface", self.can_interface, INTERFACES)
        check_choice("arms", self.arms, ("both", *SIDES))
        if self.safety.max_tick < 2.0 / self.control_rate:
            raise ValueError(
                f"safety.max_tick {self.safety.max_tick:g} s must be at least two periods of control_rate "
                f"{self.control_rate:g} Hz: every tick would count as late, and the arms would only creep"
            )
        if (joint_speeds(self.home_speed) > both_arms(self.safety.velocity)).any():
            raise ValueError(f"home_speed must be within safety.velocity, grippers at a tenth, got {self.home_speed}")
        if self.park_speed > min(self.safety.velocity[:-1]):
            raise ValueError(f"park_speed must be within safety.velocity, got {self.park_speed}")
        home = np.array(self.home)
        if home.shape != (JOINT_DIM,) or not ((home >= self.safety.lower) & (home <= self.safety.upper)).all():
            raise ValueError(f"home must be {JOINT_DIM} values inside the safety limits, got {self.home}")
        if self.arm.gripper_effort > self.safety.gripper_effort:
            raise ValueError(
                f"arm.gripper_effort {self.arm.gripper_effort:g} N m is above safety.gripper_effort "
                f"{self.safety.gripper_effort:g} N m"
            )


@dataclass(frozen=True)
class PolicyNodeConfig:
    """Parameters of `policy_node`. Where 0 (or -1) stands for "the checkpoint's", the checkpoint knows best."""

    checkpoint: str = ""
    """Checkpoint directory."""
    policy: str = ""
    """ws://HOST:PORT of a policy server that plans in place of a checkpoint; empty: the checkpoint plans."""
    policy_mapping: str = ""
    """YAML file that says how that server calls views and joints; empty: it says so itself, as `wav serve` does."""
    engine: str = "auto"
    """"auto", "torch", "onnxruntime" or "tensorrt"."""
    make_graphs: bool = False
    """Where engine "auto" finds no int8 graphs for this processor, make them once, which takes a minute."""
    dtype: str = "auto"
    """Number format of the networks: "fp32", "bf16", "fp16", "int8", or "auto", what is fastest."""
    providers: str = ""
    """Execution providers of ONNX Runtime, best first, with commas between; empty: CUDA's on a GPU, else the CPU's."""
    compile: bool = False
    """Compile torch's networks (torch.compile): faster, after minutes."""
    cuda_graphs: bool = False
    """Record GPU work once and replay it; TensorRT, and torch with `compile`."""
    pretrained: str = ""
    """Local LTX-Video directory (vae, tokenizer, text_encoder), for checkpoints that use them."""
    num_threads: Count = 1
    """Threads of the networks; 0: as many as the library likes."""
    instruction: str = ""
    """Language command until the topic `instruction` brings another."""
    seed: Count = 0
    """Seed of the first plan; the following ones count up."""
    num_iterations: Annotated[int, Range(-1)] = -1
    """Rounds of the planner (K); 0: no planning; -1: the checkpoint's."""
    num_video_samples: Count = 0
    """Futures per round (M); 0: the checkpoint's."""
    num_value_samples: Count = 0
    """Value samples per future (N); 0: the checkpoint's."""
    planner: str = ""
    """Any other parameters of the planner, "NAME=VALUE NAME=VALUE ..." (fields of `PlannerConfig`)."""
    deadline: NotNegative = 0.0
    """Time a plan may take [s]; 0: the checkpoint's."""
    replan_interval: Count = 0
    """Steps of a chunk that are executed before the next one takes over; 0: the checkpoint's."""
    continuation: str = "rtc"
    """How a chunk continues the one before: "naive", "average" or "rtc", see `wav_policy.policy.chunk_continuation`."""
    image_transport: str = "auto"
    """"raw", "compressed", or "auto": raw where it comes, else compressed."""
    imagine_rate: NotNegative = 0.0
    """How often the chosen future is decoded and published while somebody listens; 0: nothing imagined is [Hz]."""
    imagine_alternatives: Count = 3
    """Other elites whose gripper paths are shown beside the chosen future's, at most; while somebody listens."""
    observation: ObservationConfig = field(default_factory=ObservationConfig)

    def __post_init__(self) -> None:
        if fault := instruction_fault(self.instruction):
            raise ValueError(fault)
        check_continuation(self.continuation)
        if self.policy:
            check_address(self.policy)
        check_choice("dtype", self.dtype, PRECISIONS)
        check_choice("image_transport", self.image_transport, TRANSPORTS)


@dataclass(frozen=True)
class TeleopNodeConfig:
    """Parameters of `teleop_node`.

    Attributes:
        can_interface: "socketcan" or "slcan".
        can_left, can_right: of the leader arms: network interfaces (socketcan) or serial devices (slcan).
        usb_left, usb_right: USB serial numbers of their adapters, which are then found whatever they are called; "":
            the names above are believed. `wav arm find` tells them.
        arms: "both"; "left" or "right" has that leader alone, and the other follower stays where it was told to be.
        following: how the followers follow.
    """

    can_interface: str = "socketcan"
    can_left: str = "can_leader_left"
    can_right: str = "can_leader_right"
    usb_left: str = ""
    usb_right: str = ""
    arms: str = "both"
    following: FollowingConfig = field(default_factory=FollowingConfig)

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        check_choice("can_interface", self.can_interface, INTERFACES)
        check_choice("arms", self.arms, ("both", *SIDES))


@dataclass(frozen=True)
class ManagerConfig:
    """Parameters of `lifecycle_manager`.

    Attributes:
        node_names: managed nodes in the order of configuration and activation.
        ready_services: wait for these (Trigger) before configuring anything; whoever offers them is what the nodes
            rely on.
        appear_timeout: time for a node's lifecycle services to appear [s].
        transition_timeout: time for one transition; loading a checkpoint is part of configuring [s].
        stop_timeout: time for one transition on the way down; parking is part of deactivating [s].
        gone_timeout: a node whose state cannot be had within this time on the way down is taken as gone [s].
    """

    node_names: tuple[str, ...] = ()
    ready_services: tuple[str, ...] = ()
    appear_timeout: Positive = 60.0
    transition_timeout: Positive = 240.0
    stop_timeout: Positive = 20.0
    gone_timeout: Positive = 1.0
