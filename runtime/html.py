"""Pages in one file that need no network and no script: their frame, style and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from argus_edge.errors import shown
from argus_edge.runtime.charts import CHART_STYLE

STYLE: Final = f"""
:root {{ color-scheme: light dark; --ground: #fff; --panel: #f6f7f9; --text: #1b1f24; --faint: #5a6472;
  --line: #d8dde3; --bad: #b42318; --curve: #0b62c4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #14171b; --panel: #1d2126; --text: #e6e9ed;
  --faint: #a0a9b4; --line: #363c44; --bad: #ff8a7a; --curve: #6cb6ff; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1240px; padding: 1rem 1rem 3rem; background: var(--ground);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; margin: .5rem 0 0; }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .6rem; }}
h3 {{ font-size: 1rem; margin: 1rem 0 .4rem; }} p {{ margin: .3rem 0; }}
.note {{ color: var(--faint); font-size: .85rem; font-weight: normal; }}
.bad {{ color: var(--bad); }}
pre {{ background: var(--panel); padding: .7rem; margin: .3rem 0; white-space: pre-wrap;
  font-size: .85rem; }}
.charts, .pictures {{ display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }}
.pictures {{ grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }}
figure {{ margin: 0; background: var(--panel); padding: .5rem; border-radius: 4px; }}
figcaption {{ font-size: .85rem; font-weight: 600; }} .pictures figcaption {{ font-weight: normal; }}
.pictures img {{ display: block; width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: .9rem;
  overflow-wrap: normal; }}
th, td {{ padding: .15rem .8rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); }}
td:first-child, th:first-child {{ min-width: 8rem; }}
td.n, th.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }}
tr.head td {{ font-weight: 600; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: 0; }}
dt {{ color: var(--faint); }} dd {{ margin: 0; }} summary {{ cursor: pointer; color: var(--faint); }}
{CHART_STYLE}"""


def page(title: str, state: str, sections: Iterable[tuple[str, str]]) -> str:
    """The page: (heading, HTML) of each section; those without content are left out."""
    body = "\n".join(f"<section><h2>{name}</h2>{html}</section>" for name, html in sections if html)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<header><h1>{text(title)}</h1><p>{text(state)}</p></header>\n{body}\n</body></html>\n"
    )


def text(value: object) -> str:
    """Text of any origin, printable and escaped."""
    return escape(shown(str(value).encode("utf-8", "backslashreplace").decode()))


def grid(kind: str, figures: Sequence[str]) -> str:
    """Figures beside one another, of the style's kind "charts" or "pictures"; "" without one."""
    inside = "".join(figures)
    return f'<div class="{kind}">{inside}</div>' if inside else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are numbers, as text; "" without a row."""
    body = "".join(_row("td", row) for row in rows)
    return f'<div class="wide"><table>{_row("th", head)}{body}</table></div>' if body else ""


def facts(values: Iterable[tuple[object, object]]) -> str:
    """What -> value, one below the other."""
    return (
        "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in values) + "</dl>"
    )


def _row(cell: str, values: Sequence[object]) -> str:
    first, *rest = values
    numbers = "".join(f'<{cell} class="n">{text(value)}</{cell}>' for value in rest)
    return f"<tr><{cell}>{text(first)}</{cell}>{numbers}</tr>"
