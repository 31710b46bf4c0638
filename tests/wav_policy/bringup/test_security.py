"""Policy files of SROS 2, and how far nodes look for each other; test_contract.py looks at running nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wav_policy.bringup import access, discovery


def test_policy_files_survive_writing_and_reading(tmp_path: Path) -> None:
    nodes = {
        "a": access.Access(publish=("/x",), subscribe=("/y", "/z"), reply=("/a/get",)),
        "b": access.Access(request=("/a/get",)),
    }
    access.write_policy(nodes, tmp_path / "policy.xml")
    assert access.read_policy(tmp_path / "policy.xml") == nodes
    changed = {"a": access.Access(publish=("/x", "/new"), subscribe=("/y",), reply=("/a/get",)), "b": nodes["b"]}
    assert access.differences(nodes, changed) == ["a may not publish /new", "a does not subscribe /z"]


def test_an_enclave_of_another_name_is_refused(tmp_path: Path) -> None:
    access.write_policy({"a": access.Access(publish=("/x",))}, tmp_path / "policy.xml")
    text = (tmp_path / "policy.xml").read_text().replace("/wav/a", "/wav/b")
    (tmp_path / "policy.xml").write_text(text)
    with pytest.raises(access.PolicyFileError, match="/wav/b"):
        access.read_policy(tmp_path / "policy.xml")


def test_enclaves_are_named_only_when_security_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.ENABLED_VARIABLE, raising=False)
    assert access.enclave_arguments("piper_node") == ()
    monkeypatch.setenv(access.ENABLED_VARIABLE, "true")
    assert access.enclave_arguments("piper_node") == ("--enclave", "/wav/piper_node")


def test_the_users_choice_of_range_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*discovery.PROFILES_VARIABLES, discovery.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    discovery.limit_to_this_host()
    assert os.environ[discovery.VARIABLE] == "LOCALHOST"
    assert os.environ.pop(discovery.PROFILES_VARIABLES[0]).endswith("loopback.xml")
    monkeypatch.setenv(discovery.VARIABLE, "SUBNET")
    discovery.limit_to_this_host()
    assert os.environ[discovery.VARIABLE] == "SUBNET"
    assert discovery.PROFILES_VARIABLES[0] not in os.environ
