"""Only ``pip install -e .`` is offered: scripts, data and results have their places in this folder."""

from __future__ import annotations

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class RefusedWheel(bdist_wheel):  # type: ignore[misc,unused-ignore]  # setuptools has no types
    """What ``pip install .`` asks for; an editable installation does not run it."""

    def run(self) -> None:
        raise SystemExit("error: install this project from its folder with: pip install -e .   (not: pip install .)")


setup(cmdclass={"bdist_wheel": RefusedWheel})
