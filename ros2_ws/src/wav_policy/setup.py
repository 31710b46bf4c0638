"""The ament shell: what colcon installs over the links to the packages, launch and config folders."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "wav_policy"
NODES = (
    "diagnostic_markers",
    "lifecycle_manager",
    "monitor",
    "piper_node",
    "policy_node",
    "recorder_node",
    "sim_node",
    "teleop_node",
)
PARTS = ("*.json", "*.safetensors", "SHA256SUMS")
"""Of a checkpoint."""

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=["wav_models*", "wav_policy*"]),
    package_data={"": ["py.typed", "*.xml", "*.c", "*.html", "*.css", "*.js"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.*")),
        (f"share/{PACKAGE}/config/security", glob("config/security/*")),
        *(
            (f"share/{PACKAGE}/{checkpoint}", [path for files in PARTS for path in glob(f"{checkpoint}/{files}")])
            for checkpoint in glob("checkpoints/*")
        ),
    ],
    zip_safe=False,
    license="Apache-2.0",
    description="Real-time control of a bimanual AgileX Piper robot with the World-Value-Action model",
    entry_points={"console_scripts": [f"{node} = {PACKAGE}.nodes.__main__:main" for node in NODES]},
)
