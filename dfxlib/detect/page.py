"""A page of verdicts that needs nothing else: no network, no other file, and no code but the script at its end."""

import base64
import hashlib
import html
from datetime import date
from typing import TextIO

from dfxlib.detect.verdicts import UNLIKE
from dfxlib.names import CLASS_LABELS, CLASSES, NATURE_COLOURS
from dfxlib.system.shown import shown

#: Pictures that a page shows; a table takes all. Four kilobytes each.
PAGE_ROWS = 10_000


class Page:
    """Writes a page row by row, so that memory stays flat."""

    def __init__(self, file: TextIO, model: str):
        self.file, self.rows = file, 0
        legend = "".join(f'<span class="{name}"></span>{CLASS_LABELS[name]} ' for name in CLASSES)
        file.write(_HEAD.format(style=_STYLE, policy=_POLICY, model=_text(model), day=date.today(), legend=legend))

    def add(self, row: dict) -> None:
        """One picture more; those beyond PAGE_ROWS are only counted."""
        if self.rows < PAGE_ROWS:
            self.file.write(_row(row, self.rows))
        self.rows += 1

    def end(self, summary: str) -> None:
        """Close the page with the summary, which its style shows above the pictures."""
        more = f"; {self.rows - PAGE_ROWS} more are not shown here" if self.rows > PAGE_ROWS else ""
        self.file.write(_END.format(summary=html.escape(summary), more=more, script=_SCRIPT))


def _row(row: dict, number: int) -> str:
    picture = base64.b64encode(row["thumbnail"]).decode()
    image = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{picture}">' if picture else "<i></i>"
    path, kind = _text(row["path"]), row["verdict"] or "problem"
    if row["problem"]:
        return (
            f'<li data-v="problem" data-n="{number}">{image}<div><b>{path}</b>'
            f'<p class="quiet">{_text(row["problem"])}</p></div></li>\n'
        )
    facts = [f'<span class="verdict {kind}">{kind}</span>']
    if row["unlike"]:
        facts.append(f'<span class="warning">{UNLIKE}: {_text(row["unlike"])}</span>')
    if row["holds"] == "no":
        span = f"{row['p_fake_low']:.2f} to {row['p_fake_high']:.2f}"
        facts.append(f'<span class="warning">does not hold under delivery ({span})</span>')
    facts += [f"{name}: {_text(row[name])}" for name in ("declares", "remark") if row[name]]
    far = row["distance"] if isinstance(row["distance"], float) and row["distance"] == row["distance"] else 0.0
    return (
        f'<li data-v="{kind}" data-n="{number}" data-p="{row["p_fake"]:.6f}" data-d="{far:.4f}">{image}'
        f"<div><b>{path}</b><p>{'<br>'.join(facts)}</p></div>{_bar(row)}</li>\n"
    )


def _bar(row: dict) -> str:
    """The three probabilities as one bar, in the colours of the natures, and in words for whoever sees no colours."""
    shares = {name: row[f"p_{short}"] for name, short in zip(CLASSES, ("dm", "gan", "real"))}
    said = ", ".join(f"{CLASS_LABELS[name]} {share:.2f}" for name, share in shares.items())
    parts = "".join(f'<span class="{name}" style="width:{100 * share:.1f}%"></span>' for name, share in shares.items())
    dim = " far" if row["unlike"] else ""
    bar = f'<div class="bar{dim}" role="img" aria-label="{said}">{parts}</div>'
    return f'<div class="said">{bar}<small>{said}</small></div>'


def _text(text: object) -> str:
    return html.escape(shown(text))


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #666; --warn: #a50f15; --ground: #fff; --ink: #111 }
@media (prefers-color-scheme: dark) {
  :root { --quiet: #aaa; --warn: #ff8a80; --ground: #16181c; --ink: #e8e8e8 }
}
body { font: 0.9rem/1.35 sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem;
  display: flex; flex-direction: column; background: var(--ground); color: var(--ink) }
h1 { margin: 0 } ol { order: 3; list-style: none; margin: 0; padding: 0 } #summary { order: 1; font-weight: bold }
#tools { order: 2; display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; margin-bottom: 0.5rem }
li { display: grid; grid-template-columns: 6.5rem 1fr 15rem; gap: 0.8rem; padding: 0.5rem 0;
  border-top: 1px solid var(--line); content-visibility: auto; contain-intrinsic-size: auto 7rem }
li[hidden] { display: none } li img { max-width: 6rem; max-height: 6rem } li p { margin: 0.2rem 0 }
li div { overflow-wrap: anywhere; min-width: 0 } .quiet, small { color: var(--quiet) } .warning { color: var(--warn) }
.verdict.fake { font-weight: bold } .said { padding-top: 0.2rem }
.bar { display: flex; height: 0.9rem; border-radius: 3px; overflow: hidden; background: var(--line) }
.far { opacity: 0.35 } .legend span { display: inline-block; width: 0.9rem; height: 0.9rem; margin: 0 0.3rem 0 0.6rem;
  vertical-align: -0.1rem; border-radius: 3px }
@media (max-width: 40rem) { li { grid-template-columns: 4rem 1fr } li img { max-width: 4rem } .said { grid-column: 2 } }
""" + "".join(f":is(.bar, .legend) .{name} {{ background: {NATURE_COLOURS[name]} }} " for name in CLASSES)

_SCRIPT = """
const list = document.querySelector("ol"), rows = [...list.children], tools = document.getElementById("tools");
const number = (row, name) => parseFloat(row.dataset[name] ?? "-1");
const path = row => row.querySelector("b").textContent;
const orders = {
  "as given": (a, b) => number(a, "n") - number(b, "n"),
  "fake score": (a, b) => number(b, "p") - number(a, "p"),
  "distance from training": (a, b) => number(b, "d") - number(a, "d"),
  "path": (a, b) => path(a) < path(b) ? -1 : 1,
};
const choice = document.createElement("select"), shown = new Set();
for (const name of Object.keys(orders)) choice.append(new Option(name));
choice.onchange = () => list.append(...rows.sort(orders[choice.value]));
const label = document.createElement("label");
label.append("sort by ", choice);
tools.append(label);
for (const verdict of ["fake", "real", "unsure", "problem"]) {
  const count = rows.filter(row => row.dataset.v === verdict).length;
  if (!count) continue;
  shown.add(verdict);
  const box = document.createElement("input"), own = document.createElement("label");
  box.type = "checkbox";
  box.checked = true;
  box.name = verdict;
  box.onchange = () => {
    box.checked ? shown.add(verdict) : shown.delete(verdict);
    for (const row of rows) row.hidden = !shown.has(row.dataset.v);
  };
  own.append(box, ` ${verdict} (${count})`);
  tools.append(own);
}
"""

# No script but this one runs, whatever stands in a file's name, and nothing is fetched.
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()

_POLICY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'"

_HEAD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Verdicts</title>
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>
<div><h1>Verdicts</h1><p>{model}; {day}</p>
<p>Indications for a person to weigh, and no proof. A bar is pale where the picture is unlike the training data:
there its numbers mean little.</p>
<p class="legend">{legend}</p></div><ol>
"""

_END = '</ol><p id="summary">{summary}{more}</p><div id="tools"></div><script>{script}</script></body></html>\n'
