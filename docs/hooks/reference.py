"""Reference pages, written from the code while mkdocs builds."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mkdocs_gen_files

from wav_models.endings import FAILED, INTERRUPTED, OK, WRONG_USE
from wav_policy.bringup.arguments import ARGUMENTS
from wav_policy.cli.main import COMMANDS, usage

ROOT = Path(__file__).resolve().parents[2]
POLICY = "config/security/policy.xml"
API = (
    "wav_models.planner.latent_planner",
    "wav_models.planner.config",
    "wav_models.planner.scoring",
    "wav_models.planner.selection",
    "wav_models.checkpoint",
    "wav_models.engines.base",
    "wav_models.engines.runtimes",
    "wav_models.types",
    "wav_policy.policy.wav_policy",
    "wav_policy.policy.observation",
    "wav_policy.control.safety",
    "wav_policy.control.control_loop",
    "wav_policy.control.collision",
    "wav_policy.piper.bimanual",
    "wav_policy.sim.task",
)
"""Modules that somebody outside would import or extend."""
UNTIL_STOPPED = ", ".join(name for name, command in COMMANDS.items() if command.until_stopped)
EXIT_CODES = f"""Every command ends with one line on standard error unless all went well, and with one of these codes:

| code | |
|---|---|
| {OK} | done; or stopped by a signal, where it runs until then: {UNTIL_STOPPED} |
| {FAILED} | something went wrong while it ran, or it found what it was to look for |
| {WRONG_USE} | an option, a configuration, a file or a directory does not fit; nothing was done |
| {INTERRUPTED} | ended by a signal, Ctrl-C or another |

`--json FILE` is where a result goes, `--json` alone puts it on standard output."""
PLUMBING = ("parameter", "rosout", "type_description")
"""Topics and services that every ROS node has."""


def help_of(command: str) -> str:
    """What `wav COMMAND --help` prints."""
    module, function = COMMANDS[command].target.split(":")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), contextlib.suppress(SystemExit):
        getattr(importlib.import_module(module), function)(["--help"])
    return output.getvalue().strip()


def commands() -> str:
    """Every command with its help text."""
    page = ["# Commands", f"```text\n{usage()}\n```", EXIT_CODES]
    for name, command in COMMANDS.items():
        page += [f"## wav {name}", command.summary, f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(page)


def launch_arguments() -> str:
    """The arguments of `wav up` and of the launch files."""
    rows = ["| argument | default | choices | |", "|---|---|---|---|"]
    for argument in ARGUMENTS:
        choices = ", ".join(f"`{choice}`" for choice in argument.choices or ())
        rows.append(f"| `{argument.name}` | `{argument.default or ' '}` | {choices} | {argument.description} |")
    use = "`wav up NAME:=VALUE ...`, `ros2 launch wav_policy piper_bimanual.launch.py NAME:=VALUE ...`"
    return "\n\n".join(("# Launch arguments", use, "\n".join(rows)))


def parameters() -> str:
    """The commented parameter files as they are shipped."""
    page = ["# Parameters", "A key that does not exist is an error that names the valid ones."]
    for path in sorted((ROOT / "config").glob("*.yaml")):
        page += [f"## config/{path.name}", f"```yaml\n{path.read_text()}```"]
    return "\n\n".join(page)


def topics() -> str:
    """Who publishes, hears, offers and calls what; a test holds the file against the running nodes."""
    page = ["# Topics and services", f"From `{POLICY}`, which a test compares with the running nodes."]
    for enclave in ElementTree.parse(ROOT / POLICY).getroot().iter("enclave"):
        page.append(f"## {enclave.attrib['path'].rsplit('/', 1)[-1]}")
        rows = []
        for group in next(enclave.iter("profile")):
            word = "topics" if group.tag == "topics" else "services"
            verb = next(kind for kind in ("publish", "subscribe", "reply", "request") if kind in group.attrib)
            names = [f"`{item.text}`" for item in group if not any(part in (item.text or "") for part in PLUMBING)]
            if names:
                rows.append(f"- {word}, {verb}: " + ", ".join(names))
        page.append("\n".join(rows))
    return "\n\n".join(page)


def api() -> str:
    """Docstrings of the modules that others build on."""
    return "# Python\n\n" + "\n\n".join(f"::: {module}" for module in API)


os.environ["COLUMNS"] = "100"
for name, text in {
    "commands": commands(),
    "launch": launch_arguments(),
    "parameters": parameters(),
    "topics": topics(),
    "api": api(),
}.items():
    with mkdocs_gen_files.open(f"reference/{name}.md", "w") as page:
        page.write(text + "\n")
