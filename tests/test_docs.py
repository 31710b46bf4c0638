"""What the pages name exists: commands, options, launch arguments, files, topics, configuration keys, links."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Final
from xml.etree import ElementTree

import pytest
import yaml

from wav_models import command_line
from wav_policy.bringup.arguments import ARGUMENTS
from wav_policy.cli.main import COMMANDS as WAV_COMMANDS
from wav_policy.cli.main import main

ROOT = Path(__file__).parents[1]
OUTSIDE = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")]
"""Pages that `make docs` does not look at; CHANGELOG.md also names what is gone."""
PAGES = [*OUTSIDE[:3], *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("wav", ".venv/bin/wav")
LAUNCH = ["ros2", "launch", "wav_policy"]
ENDS = {"&", "&&", "|", "||", ";", ">"}
CHOICES = {argument.name: argument.choices for argument in ARGUMENTS}
CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
VARIANTS = {"demonstrate": (["--suite=libero_object"],), "evaluate": (["--suite=libero_object"],)}
"""Commands with another set of options behind one of them."""
OF_OTHERS = {"--show-args", "--enclave", "joint_limits.yaml", "metadata.yaml", "examples/libero"}
"""Options and files of ROS, MoveIt, rosbag2 and openpi that pages name by themselves."""
TREES = ["wav_policy", "wav_models", "config", "tests", "docker", "docs", "launch", "checkpoints", "examples"]
PLACEHOLDER = re.compile(r"[A-Z]{3,}|<|\.\.\.")
"""Part of a path that stands for something."""


class ParsedError(BaseException):
    """Instead of doing what was asked for."""


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every command in a block of code."""
    for page in PAGES:
        variables: dict[str, str] = {}
        for language, block in BLOCK.findall(page.read_text()):
            if language not in ("", "sh", "bash", "text"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                try:
                    words = shlex.split(Template(line).safe_substitute(variables), comments=True)
                except ValueError:  # a drawing
                    continue
                for command in one_by_one(words):
                    while command and re.fullmatch(r"\w+=.*", command[0]):
                        name, _, variables[name] = command.pop(0).partition("=")
                    if command[:1] == ["for"]:
                        variables[command[1]] = command[3]
                    if command and (command[0] in PROGRAMS or command[:3] == LAUNCH):
                        yield page.name, command


def one_by_one(words: list[str]) -> Iterator[list[str]]:
    """The commands of a line."""
    command: list[str] = []
    for word in words:
        if word not in ENDS and word != "do":
            command.append(word.rstrip(";"))
        if word in ENDS or word.endswith(";"):
            yield command
            command = []
    yield command


def stop(arguments: Any, *_: Any) -> Any:
    raise ParsedError


COMMANDS = list(commands())


@pytest.mark.parametrize(
    ("page", "words"), [pytest.param(*both, id=f"{both[0]}-{i}") for i, both in enumerate(COMMANDS)]
)
def test_a_command_in_a_page_can_be_given(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (word.split(":=", 1) for word in words if ":=" in word):
        assert name in CHOICES, (page, words)
        assert not (choices := CHOICES[name]) or value in choices, (page, words)
    if words[:3] == LAUNCH:
        return
    monkeypatch.setattr(command_line, "_checked", stop)
    monkeypatch.setattr("wav_policy.cli.up.parse", stop)
    if words[1:] in (["--version"], ["suite", "list"], ["COMMAND", "--help"]):
        return
    with pytest.raises((ParsedError, SystemExit)) as ended:
        main(words[1:])
    assert ended.type is ParsedError or ended.value.code == 0, (page, words)


def test_commands_are_found() -> None:
    """Those after a block of another language too."""
    assert len(COMMANDS) > 150
    assert {"training.md", "planning.md", "first_day_data.md", "faults.md"} <= {page for page, _ in COMMANDS}


def spans(text: str) -> Iterator[str]:
    """What is set as code within sentences and tables."""
    for span in SPAN.findall(CODE.sub("", text)):
        yield " ".join(span.split())


@cache
def options_of(command: str) -> frozenset[str]:
    """Every option of a command of `wav`, of all its forms."""
    module, function = WAV_COMMANDS[command].target.split(":")
    forms: list[list[str]] = [[], *VARIANTS.get(command, ())]
    if command == "arm":
        forms += [["show"], ["find"], ["stroke", "70"]]
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setenv("COLUMNS", "200")
        for form in forms:
            with contextlib.suppress(SystemExit):
                getattr(importlib.import_module(module), function)([*form, "--help"])
    return frozenset(re.findall(r"(?<!\S)--[a-z][\w-]*", output.getvalue())) | {"--help", "--json"}


def unknown_options(text: str) -> list[str]:
    """Options in sentences that no command of theirs has; those of a Python module are looked for in its source."""
    programs = re.findall(r"python -m ([\w.]+)", text)
    modules = [path for name in programs if (path := ROOT / (name.replace(".", "/") + ".py")).exists()]
    of_modules = "".join(path.read_text() for path in modules)
    unknown = []
    for span in spans(text):
        named = set(re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", span)) - OF_OTHERS
        words = span.split()
        if words[0] == "wav":
            command = next((name for name in (" ".join(words[1:3]), *words[1:2]) if name in WAV_COMMANDS), None)
            known = options_of(command) if command else set()
        elif words[0].startswith("--"):
            known = {name for name in named if name[2:].replace("-", "_") in of_modules}
            known = known | frozenset().union(*map(options_of, WAV_COMMANDS))
        else:
            continue
        unknown += [f"{span}: {name}" for name in sorted(named - known)]
    return unknown


def topics() -> frozenset[str]:
    """What the robot's nodes publish, hear, offer and call; a test compares the file with the running nodes."""
    names = {"piper/follow_joint_trajectory", *(f"piper/{side}_gripper/gripper_cmd" for side in ("left", "right"))}
    for enclave in ElementTree.parse(ROOT / "config/security/policy.xml").getroot().iter("enclave"):
        for group in next(iter(enclave.iter("profile"))):
            names |= {(item.text or "").strip("/") for item in group}
    return frozenset(names)


TOPICS = topics()
OF_EVERY_NODE = re.compile(
    r"parameter|rosout|type_description|get_(available_)?state|change_state|transition|^clock$|^tf"
)


def expanded(name: str) -> list[str]:
    """`a/{b,c}` and `<view>/d`, written out."""
    name = name.replace("<view>", "{head,left_wrist,right_wrist}").strip("/")
    if (braces := re.search(r"\{([^}]*)\}", name)) is None:
        return [name]
    return [
        each for part in braces.group(1).split(",") for each in expanded(name.replace(braces.group(), part.strip(), 1))
    ]


def unknown_topics(text: str) -> list[str]:
    """Topics and services that nobody has, known by what they begin with."""
    first = r"/?(?:piper|recorder|teleop|sim|imagined|leader|<view>|\{head,left_wrist,right_wrist\})"
    named = [span for span in spans(text) if re.fullmatch(first + r"(?:/[\w{},<>]+)+", span)]
    return [name for span in named for name in expanded(span) if name not in TOPICS]


@cache
def files() -> tuple[str, ...]:
    """Every file and folder of the repository, with a slash before it."""
    found = [path for tree in TREES for path in (ROOT / tree).rglob("*") if "__pycache__" not in path.parts]
    return tuple(f"/{path.relative_to(ROOT)}" for path in [*found, *(ROOT / tree for tree in TREES)])


def missing_files(text: str) -> list[str]:
    """Files in sentences that are not there; a path may leave out its beginning (`control/safety.py`)."""
    missing = []
    for span in spans(text):
        is_path = re.match(rf"(?:{'|'.join(TREES)})/[\w./{{}},*-]+$", span)
        if (
            span in OF_OTHERS
            or PLACEHOLDER.search(span)
            or not (is_path or re.fullmatch(r"[\w/{},]+\.(?:py|yaml|xml|urdf)", span))
        ):
            continue
        for name in expanded(span.rstrip("/")):
            pattern = re.compile(re.escape(f"/{name}").replace(r"\*", "[^/]*") + "$")
            missing += [] if any(pattern.search(path) for path in files()) else [name]
    modules = [name.replace(".", "/") for name in re.findall(r"python -m ((?:wav_|tests)[\w.]*\w)", text)]
    return missing + [name for name in modules if not {f"/{name}.py", f"/{name}/__main__.py"} & set(files())]


@cache
def configuration(name: str) -> dict[str, list[Any]]:
    """Values by key, however deep, of one file of `config/`; of all for `*`."""
    found: dict[str, list[Any]] = {}

    def look(values: dict[str, Any]) -> None:
        for key, value in values.items():
            found.setdefault(key, []).append(value)
            if isinstance(value, dict):
                look(value)

    for path in (ROOT / "config").glob(f"{name}.yaml"):
        look(yaml.safe_load(path.read_text()))
    return found


def kind(value: Any) -> object:
    """What another value has to be like: numbers are alike, lists of one length."""
    if isinstance(value, list):
        return "list", len(value)
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def wrong_settings(text: str) -> list[str]:
    """`key: value` where the shipped value is of another kind, and keys of a file that has none such."""
    text = CODE.sub("", text)
    wrong = []
    for span in spans(text):
        if (setting := re.fullmatch(r"(?:\w+\.)*(\w+): (.+)", span)) is None:
            continue
        shipped = configuration("*").get(setting.group(1), [])
        with contextlib.suppress(yaml.YAMLError):
            if shipped and kind(yaml.safe_load(setting.group(2))) not in map(kind, shipped):
                wrong.append(span)
    for key, name in re.findall(r"`(?:\w+\.)*(\w+)(?:: [^`]+)?`,?\s+(?:in|of)\s+`config/(\w+)\.yaml`", text):
        wrong += [] if key in configuration(name) else [f"{key} in config/{name}.yaml"]
    return wrong


def unknown_arguments(text: str) -> list[str]:
    """Launch arguments in sentences that there are not, and values that do not fit."""
    named = [found for span in spans(text) for found in re.findall(r"(?<![\w/.-])([a-z_]+):=([\w/.-]*)", span)]
    return [
        f"{name}:={value}"
        for name, value in named
        if name not in CHOICES or ((choices := CHOICES[name]) and value and value not in choices)
    ]


def anchor(heading: str) -> str:
    """As Python-Markdown makes it."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def dead_links(text: str, folder: Path) -> list[str]:
    """Links to files and sections that there are not."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", text)):
        name, _, section = link.partition("#")
        if "://" in link or not name:
            continue
        path = folder / name
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if section and path.exists() else ()
        if not path.exists() or (section and section not in map(anchor, headings)):
            dead.append(link)
    return dead


CHECKS: Final = (unknown_options, unknown_topics, missing_files, wrong_settings, unknown_arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert [fault for check in CHECKS for fault in check(text)] == []


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: page.name)
def test_links_outside_the_site(page: Path) -> None:
    """Those of docs/ are checked when `make docs` builds the site."""
    assert dead_links(page.read_text(), page.parent) == []


def test_the_front_door_is_short() -> None:
    """README on a few screens, the commands of each door on one."""
    readme = OUTSIDE[0].read_text()
    assert len(readme.splitlines()) <= 120
    doors = re.findall(r"\]\(docs/(try_it|my_\w+)\.md\) \|", readme)
    assert len(doors) == 4
    for door in doors:
        commands = "".join(block for _, block in BLOCK.findall((ROOT / f"docs/{door}.md").read_text()))
        assert len(commands.splitlines()) <= 40, door


def test_the_newest_release_is_the_same_everywhere() -> None:
    """Package, ROS package, citation and the newest heading of the changelog, which has a date."""
    (version, date), *_ = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", OUTSIDE[3].read_text(), re.MULTILINE
    )
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == (version, date)
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text()
    package = ROOT / "ros2_ws/src/wav_policy"
    assert ElementTree.parse(package / "package.xml").findtext("version") == version
    assert f'version="{version}"' in (package / "setup.py").read_text()


def test_all_topics_are_in_their_page() -> None:
    named = {name for span in spans((ROOT / "docs/topics.md").read_text()) for name in expanded(span)}
    assert {name for name in TOPICS if not OF_EVERY_NODE.search(name)} - named == set()


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (unknown_options, "`wav hold --namespace robot1`", "`wav hold --name robot1`"),
        (unknown_options, "`wav demonstrate --task drawer`", "`wav replay --task drawer`"),
        (unknown_options, "`python -m tests.benchmarks.control_loop`; `--all-frames`", "`--all-frames`"),
        (unknown_topics, "`piper/{hold,stop}`, `<view>/image_raw`", "`piper/{hold,park}`"),
        (missing_files, "`control/safety.py`, `config/*.yaml`, `wav_policy/cli`", "`control/security.py`"),
        (missing_files, "`python -m wav_models.bench.gpu`", "`python -m wav_models.bench.cpu`"),
        (wrong_settings, "`velocity: [1, 1, 1, 1, 1, 1, 0.5]` in `config/safety.yaml`", "`velocity: 1.0`"),
        (wrong_settings, "`arm.speed_percent` in `config/piper.yaml`", "`speed_percent` in `config/safety.yaml`"),
        (unknown_arguments, "`arms:=left`", "`arms:=middle`"),
        (unknown_arguments, "`monitor_port:=8081`", "`monitor_prot:=8081`"),
        (lambda text: dead_links(text, ROOT), "[x](docs/planning.md#live)", "[x](docs/planning.md#alive)"),
    ],
)
def test_a_fault_is_found(check: Any, right: str, wrong: str) -> None:
    assert check(right) == []
    assert len(check(wrong)) == 1
