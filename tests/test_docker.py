"""Container images cannot be built here; what can be seen in their files is looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted(ROOT.glob("docker/*/Dockerfile"))
REQUIREMENTS = sorted(ROOT.glob("docker/*/requirements-*.txt"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instruction and arguments of each line, continued lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (head.upper(), rest.strip())
        for head, _, rest in (x.partition(" ") for x in joined.splitlines())
        if head
    ]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_keeps_the_rules(path: Path) -> None:
    found = instructions(path)
    stages: set[str] = set()
    for _, rest in [each for each in found if each[0] == "FROM"]:
        image, _, name = rest.partition(" AS ")
        if "${" in image:  # one of the stages before, by argument
            assert any(stage.startswith(image.partition("${")[0]) for stage in stages)
        else:
            assert image in stages or re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), image
            assert not image.endswith("latest")
        stages.add(name)
    last = max(index for index, (head, _) in enumerate(found) if head == "FROM")
    final = found[last:]
    users = [rest for head, rest in final if head == "USER"]
    assert users == ["10001"]
    assert (
        "HEALTHCHECK",
        '--interval=60s --timeout=30s --start-period=30s CMD ["argus-doctor", "--json"]',
    ) in final
    for head, rest in found:
        if head == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert rest.endswith("rm -rf /var/lib/apt/lists/*")
        assert head != "ADD"
        assert not re.search(r"--(extra-)?index-url|http_proxy|https_proxy|torch", rest), rest


def listed(name: str) -> list[str]:
    """The strings of one list of pyproject.toml that is on one line; tomllib is not in Python 3.10."""
    (line,) = re.findall(rf"^{name} = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return re.findall(r'"([^"]+)"', line)


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_requirements_are_exact_and_what_the_package_needs(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pins = {re.split(r"[\[=]", line)[0]: line for line in lines}
    assert all(re.fullmatch(r"[\w-]+(\[[\w,]+\])?==[\w.]+", line) for line in lines)
    assert "torch" not in pins
    extra = "tensorrt" if path.parent.name == "jetson" else path.stem.partition("-")[2]
    wanted = listed("dependencies") + listed(extra)
    names = {re.split(r"[\[>=]", each)[0] for each in wanted} - {"tensorrt"}  # the base image's
    assert names <= set(pins)
    if path.parent.name == "desktop":
        assert "tensorrt" not in pins


def test_every_choice_of_an_image_has_requirements() -> None:
    assert {path.stem for path in REQUIREMENTS} == {
        "requirements-cuda", "requirements-openvino", "requirements-jetpack6", "requirements-jetpack7",
    }  # fmt: skip
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for folder in ("argus_edge", "runtime", "train", "export", "cmake", "docker"):
        assert f"!{folder}" in ignored
