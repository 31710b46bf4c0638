"""What every node may do on the ROS graph, as SROS 2 wants to know it: `config/security/policy.xml`.

The file is made from a running system (`python -m wav_policy.nodes.runtime.graph_access`), one enclave per node, and
holds exactly the topics and services that each node uses. A test compares the two, so neither can change alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

POLICY_FILE = "config/security/policy.xml"
SCHEMA_VERSION = "0.2.0"
ENABLED_VARIABLE = "ROS_SECURITY_ENABLE"

_RULES = (
    ("publish", "topics", "topic"),
    ("subscribe", "topics", "topic"),
    ("reply", "services", "service"),
    ("request", "services", "service"),
)
"""Field of `Access`, element of the list, element of an entry; in the order of the file."""


class PolicyFileError(ValueError):
    """A policy file that is not as this project writes it; the message names the enclave."""


@dataclass(frozen=True)
class Access:
    """What one node uses: fully qualified names, in order."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()

    def joined(self, other: Access) -> Access:
        """What either allows."""
        return Access(*(tuple(sorted({*getattr(self, rule), *getattr(other, rule)})) for rule, _, _ in _RULES))


def enclave(node: str) -> str:
    """Enclave of a node of this project."""
    return f"/wav/{node}"


def enclave_arguments(node: str) -> tuple[str, ...]:
    """For the node's command line after --ros-args; none unless ROS 2 security is switched on."""
    return ("--enclave", enclave(node)) if os.environ.get(ENABLED_VARIABLE) == "true" else ()


def read_policy(file: Path) -> dict[str, Access]:
    """Access by node.

    Raises:
        PolicyFileError: an enclave is not named after its node, or something is denied.
    """
    nodes: dict[str, Access] = {}
    for element in ElementTree.parse(file).getroot().iter("enclave"):
        profile = element.find("profiles/profile")
        node = "" if profile is None else profile.get("node", "")
        if profile is None or element.get("path") != enclave(node):
            raise PolicyFileError(f"{file}: enclave {element.get('path')} is not that of node {node!r}")
        nodes[node] = Access(**{rule: _names(profile, rule, group) for rule, group, _ in _RULES})
    return nodes


def write_policy(nodes: Mapping[str, Access], file: Path) -> None:
    """The inverse of `read_policy`."""
    root = ElementTree.Element("policy", version=SCHEMA_VERSION)
    enclaves = ElementTree.SubElement(root, "enclaves")
    for node, access in nodes.items():
        profiles = ElementTree.SubElement(ElementTree.SubElement(enclaves, "enclave", path=enclave(node)), "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns="/", node=node)
        for rule, group, entry in _RULES:
            _add(profile, group, {rule: "ALLOW"}, entry, getattr(access, rule))
    ElementTree.indent(root)
    file.write_bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n")


def differences(policy: Mapping[str, Access], used: Mapping[str, Access]) -> list[str]:
    """One line for everything that a node uses and may not, or may and does not use."""
    found = []
    for node, access in used.items():
        allowed = policy.get(node, Access())
        for rule, _, _ in _RULES:
            names, permitted = set(getattr(access, rule)), set(getattr(allowed, rule))
            found += [f"{node} may not {rule} {name}" for name in sorted(names - permitted)]
            found += [f"{node} does not {rule} {name}" for name in sorted(permitted - names)]
    return found


def _names(profile: ElementTree.Element, rule: str, group: str) -> tuple[str, ...]:
    return tuple(
        (entry.text or "").strip() for found in profile.findall(group) if found.get(rule) == "ALLOW" for entry in found
    )


def _add(profile: ElementTree.Element, group: str, qualifier: dict[str, str], entry: str, names: Iterable[str]) -> None:
    entries = list(names)
    if entries:
        parent = ElementTree.SubElement(profile, group, qualifier)
        for name in entries:
            ElementTree.SubElement(parent, entry).text = name
