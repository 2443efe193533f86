"""The report of a run: a page that stands alone, tells what the log holds, and believes no name."""

from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from argus_edge.errors import TrainingError
from argus_edge.results import LabelMap
from argus_edge.runtime.charts import MOST_POINTS, chart, even_ticks
from argus_edge.train.data.example import Example
from argus_edge.train.metrics import TASK_METRICS
from argus_edge.train.model.checkpoint import CheckpointInfo
from argus_edge.train.run_report import PICTURES, RunReport, render, write_report
from argus_edge.train.samples import SIDE, Sample, Samples

HOSTILE = "<script>alert('x')</script>\x1b[2J\udc80.png"
VOID = {"meta", "img", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects elements and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def sample(task: str, name: str = "scene 1", size: int = 300) -> Sample:
    return Sample(task, name, 10, 5, bytes(size))


def report(**changes: Any) -> RunReport:
    rows = [
        {"step": 10, "loss/seg": 2.0, "loss/normal": 0.1, "learning_rate": 1e-3},
        {"step": 20, "loss/seg": 1.0, "loss/normal": 0.1, "learning_rate": 5e-4},
        {"step": 20, "score": 0.4, "seg/mIoU": 0.7512, "seg/images": 4.0, "normal/mean_angle": 20.25},
        {"step": 40, "score": 0.3, "seg/mIoU": 0.5, "seg/images": 4.0, "normal/mean_angle": 25.0}
        | {"seg/IoU/sky": 0.875, f"seg/IoU/{HOSTILE}": 0.25},
    ]
    values: dict[str, Any] = {
        "info": CheckpointInfo(
            "nano", ("seg", "normal"), {}, 64, f"argus-train {HOSTILE}", {"tasks": ("seg",)}
        ),
        "step": 40,
        "steps": 80,
        "machine": {"CPU": "a <fast> one"},
        "data": [f"pictures in {HOSTILE}"],
        "rows": rows,
        "metrics": {task: TASK_METRICS[task] for task in ("seg", "normal")},
        "protocols": {"seg": "mean over classes & more"},
        "samples": [sample("seg", HOSTILE), sample("normal")],
    }
    return RunReport(**(values | changes))


def test_the_page_stands_alone_and_needs_no_script() -> None:
    html = render(report())
    page = Page(html)
    sources = [attributes.get("src") for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 2
    assert all(str(source).startswith("data:image/jpeg;base64,") for source in sources)
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "href" for _, each in page.tags for name in each)
    assert "http" not in html
    assert "url(" not in html
    assert "prefers-color-scheme: dark" in html


def test_what_comes_from_outside_is_text() -> None:
    page = Page(render(report(rows=[*report().rows, {"step": 41, "fault": f"nan on {HOSTILE}"}])))
    shown = "<script>alert('x')</script>\\x1b[2J\\udc80.png"
    places = ("argus-train ", "pictures in ", "IoU/", "nan on ", "\n")
    assert not [place for place in places if f"{place}{shown}" not in page.text]
    assert "a <fast> one" in page.text
    assert "mean over classes & more" in page.text


def test_the_table_tells_last_and_best() -> None:
    html = render(report())
    rows = {
        cells[0]: cells[1:]
        for row in re.findall(r"<tr.*?</tr>", html)
        if (cells := re.findall(r"<td[^>]*>(.*?)</td>", row))
    }
    assert rows["mIoU"] == ["0.5000", "0.7512", "20"]
    assert rows["mean_angle"] == ["25.0000", "20.2500", "20"]  # the smallest, of an error
    assert rows["images"] == ["4", "", ""]
    assert rows["IoU/sky"] == ["0.8750", "0.8750", "40"]
    assert "step 40 of 80; last validated after step 40 (score 0.3000), best after step 20 (0.4000)" in html


def test_a_run_without_a_validation_has_a_report(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report(rows=[], samples=[], step=0))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "step 0 of 80; not validated yet" in page.text
    with pytest.raises(TrainingError, match=r"report.html: cannot be written \(No such file"):
        write_report(tmp_path / "nowhere" / "report.html", report())


def test_too_many_pictures_are_fewer_of_each_task() -> None:
    samples = [sample(task, f"{task} {i}", PICTURES // 6) for task in ("seg", "normal") for i in range(4)]
    page = Page(render(report(samples=samples)))
    names = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert [str(name).rsplit(" of ")[1] for name in names] == ["seg 0", "seg 1", "normal 0", "normal 1"]
    assert sum(len(str(a["src"])) for tag, a in page.tags if tag == "img") < PICTURES + 1000


def test_the_lines_of_a_chart_lie_where_their_values_are() -> None:
    svg = chart("loss", [(0, 0.0), (50, 1.0), (100, 2.0)], 100)
    (line,) = re.findall(r'points="([^"]*)"', svg)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    ticks = {t: float(y) for y, t in re.findall(r'y="([\d.]+)" dy="4" text-anchor="end">([\d.]+)<', svg)}
    assert [y for _, y in points] == [ticks["0"], ticks["1"], ticks["2"]]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2)
    assert svg.count("<circle") == 3
    assert chart("nothing", [], 100) == ""


def test_a_chart_of_decades_is_logarithmic_and_a_long_line_is_thinned() -> None:
    points = [(float(i), 10 ** (2 - 4 * i / 3000)) for i in range(3001)]
    svg = chart("loss", points, 3000)
    assert "log scale" in svg
    (line,) = re.findall(r'points="([^"]*)"', svg)
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert len(heights) <= MOST_POINTS
    steps = np.diff(heights)
    assert np.abs(steps[:-1] - steps[:-1].mean()).max() < 0.11  # a straight line, but for rounding
    assert "log scale" not in chart("flat", [(1, 5.0), (2, 5.0)], 3000)
    assert "log scale" not in chart("signed", [(1, -5.0), (2, 500.0)], 3000)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 0.34), (-3, 1200), (5, 5), (0, 0), (1e-9, 2e-9)])
def test_ticks_are_few_and_enclose(low: float, high: float) -> None:
    ticks = even_ticks(low, high, 4)
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert 2 <= len(ticks) <= 6
    digits = {float(f"{abs(t):e}".split("e")[0]) for t in np.diff(ticks)}
    assert all(min(abs(d - r) for r in (1, 2, 5, 10)) < 1e-6 for d in digits)
    assert math.isfinite(ticks[0])


def test_samples_are_spread_over_the_images_truth_on_the_left() -> None:
    samples = Samples(10, {"seg": ("sky", "ground")})
    for number in range(10):
        image = np.full((200, 2 * SIDE, 3), 128, np.uint8)
        example = Example(f"image {number}", image, labels=np.zeros((200, 2 * SIDE), np.uint8))
        samples.add("seg", example, LabelMap(np.ones((200, 2 * SIDE), np.uint8), ("sky", "ground")), None)
    pictures = samples.pictures
    assert [p.image for p in pictures] == ["image 0", "image 3", "image 6", "image 9"]
    pixels = cv2.imdecode(np.frombuffer(pictures[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape[:2] == (pictures[0].height, pictures[0].width) == (100, 2 * SIDE + 4)
    left, right = pixels[50, SIDE // 2].astype(int), pixels[50, SIDE + 4 + SIDE // 2].astype(int)
    assert np.abs(left - right).max() > 40  # two classes, two colours
    assert base64.b64encode(pictures[0].jpeg).startswith(b"/9j/")


def test_samples_of_pose_show_people() -> None:
    samples = Samples(1, {})
    empty = Example("nobody", np.zeros((8, 8, 3), np.uint8), objects=())
    samples.add("pose", empty, LabelMap(np.zeros((8, 8), np.uint8), ()), empty.people())
    assert samples.pictures == []
