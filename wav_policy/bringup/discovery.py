"""How far ROS 2 nodes look for each other, and on which interfaces they can be reached."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from wav_models.configuration import ConfigurationError
from wav_policy.bringup.paths import runtime_directory

VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
THIS_HOST = "LOCALHOST"
PROFILES_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
LOOPBACK_PROFILE = Path(__file__).with_name("loopback.xml")
LOOPBACK_UDP_PROFILE = Path(__file__).with_name("loopback_udp.xml")
TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"

_MAX_DOMAIN: Final = 232
"""Ports of UDP end there."""


def limit_to_this_host() -> None:
    """Nodes started from here are found on this host only, unless the user has chosen a range.

    Discovery alone does not close the door: Fast DDS listens on every interface all the same. So it is also told to
    receive on the loopback interface only, unless the user has a profile file of their own.

    ROS 2 does not start without a log file, so a place for it is found as well: `make_log_directory`.

    Raises:
        ConfigurationError: ROS_DOMAIN_ID is none; the middleware would end the process without a word of ours. Or no
            log can be written where the user wants it.
    """
    make_log_directory()
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not (domain.isascii() and domain.isdecimal() and int(domain) <= _MAX_DOMAIN):
        raise ConfigurationError(f"ROS_DOMAIN_ID={domain} is none: a number from 0 to {_MAX_DOMAIN}")
    if os.environ.setdefault(VARIABLE, THIS_HOST) == THIS_HOST and not any(map(os.environ.get, PROFILES_VARIABLES)):
        os.environ[PROFILES_VARIABLES[0]] = str(LOOPBACK_PROFILE)


def make_log_directory() -> None:
    """Where rcl would write its log, or else, as with a home directory that is read-only, full or not known, the
    directory for what runs.

    Raises:
        ConfigurationError: ROS_LOG_DIR or ROS_HOME is set, and nothing can be written there.
    """
    environment = os.environ
    chosen = environment.get("ROS_LOG_DIR") or (environment.get("ROS_HOME") and f"{environment['ROS_HOME']}/log")
    usual = chosen or (environment.get("HOME") and f"{environment['HOME']}/.ros/log")
    if usual:
        directory = Path(usual).expanduser()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                return
        except OSError as error:
            if chosen:
                message = (
                    f"ROS 2 cannot write its log in {directory}: {error.strerror}; set ROS_LOG_DIR to another place"
                )
                raise ConfigurationError(message) from None
    environment["ROS_LOG_DIR"] = str(runtime_directory() / "log")


def avoid_shared_memory() -> None:
    """`limit_to_this_host`, for a process that must not be kept waiting: it sends by UDP alone, unless the user has a
    profile file or transports of their own.

    Fast DDS may take 333 ms to find a port of shared memory in order, in the middle of sending, whenever somebody has
    come or gone (Fast-DDS issue 6535); rclpy keeps all other threads of Python waiting while it sends.
    """
    limit_to_this_host()
    os.environ.setdefault(TRANSPORTS_VARIABLE, "UDPv4")
    if os.environ.get(PROFILES_VARIABLES[0]) == str(LOOPBACK_PROFILE):
        os.environ[PROFILES_VARIABLES[0]] = str(LOOPBACK_UDP_PROFILE)
        # With LOCALHOST rmw_fastrtps adds shared memory to any profile. This one reaches no farther with SUBNET.
        os.environ[VARIABLE] = "SUBNET"
