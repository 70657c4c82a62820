"""Hands settings.ini to setuptools and puts the notebooks into the wheel.

The fixed lines (description, licence, addresses) are in pyproject.toml.
"""
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

settings = ConfigParser()
settings.read_string(Path("settings.ini").read_text(encoding="utf-8"))
package, extras, commands = settings["package"], settings["extras"], settings["entry_points"]
name, code = package["name"], Path(package["version_file"]).read_text(encoding="utf-8")
notebooks = f"{name}.notebooks"      # the folder nbs/ under the name that it has in a wheel


def lines(text): return text.strip().splitlines()


# What pyproject.toml does not name as dynamic, setuptools would ignore here.
setup(
    version=re.search(r'^__version__ = "(.+)"$', code, re.MULTILINE).group(1),
    install_requires=lines(package["requirements"]),
    extras_require={extra: lines(needed) for extra, needed in extras.items()},
    entry_points={group: lines(points) for group, points in commands.items()},
    packages=[*find_packages(include=[name, f"{name}.*"]), notebooks],
    package_dir={notebooks: "nbs"},
    package_data={name: ["weights/*.safetensors"], notebooks: ["*.ipynb", "*.csv", "images/*", "demos/*.html"]},
    include_package_data=False,      # only what is named here, not all of MANIFEST.in
)
