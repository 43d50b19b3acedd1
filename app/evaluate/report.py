"""An evaluation as a page to read, in Markdown or HTML."""

from html import escape

from app.contract.evaluation import EvaluationFinding, EvaluationResult
from app.evaluate.placebos import FEWEST_QUESTIONS

SENTENCES = {
    "helps": "The memory helps: few placebos score as high.",
    "harms": "The memory harms: few placebos score as low.",
    "unproven": "The memory cannot be told apart from its placebos.",
}
HEAD = ("statistic", "memory", "placebo", "effect", "95 % interval", "detectable", "p", "Holm's p")
BINS = 15
WIDTH, HEIGHT = 480, 90


def markdown(agent_id: str, result: EvaluationResult) -> str:
    """Return the report as Markdown. The agent's name is escaped."""
    name = "".join(c if c.isalnum() else f"\\{c}" for c in agent_id if c.isprintable())
    lines = [f"# Does the memory of {name} help?", "", *_sentences(result), ""]
    if result.findings:
        lines += [_row(HEAD), _row(["---"] * len(HEAD))]
        lines += [_row(_cells(finding)) for finding in result.findings]
        lines += ["", "Where the memory (^) lies among its placebos:", "", "```"]
        for finding in result.findings:
            lines += [f"{finding.statistic:17} {_strip(finding)}"]
        lines += ["```"]
    return "\n".join(lines) + "\n"


def html(agent_id: str, result: EvaluationResult) -> str:
    """Return the report as one HTML page without scripts, with a plot for each statistic."""
    title = f"Does the memory of {escape(agent_id)} help?"
    body = [f"<h1>{title}</h1>", *(f"<p>{escape(s)}</p>" for s in _sentences(result) if s)]
    if result.findings:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(finding)) + "</tr>"
            for finding in result.findings
        )
        head = "".join(f"<th>{escape(cell)}</th>" for cell in HEAD)
        body.append(f"<table><tr>{head}</tr>{rows}</table>")
        body += [f"<h2>{f.statistic}</h2>{_plot(f)}" for f in result.findings]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}"
        "td,th{padding:.2em .6em;text-align:right}</style>" + "".join(body) + "</html>\n"
    )


def _sentences(result: EvaluationResult) -> list[str]:
    told = [
        f"Verdict: {result.verdict}. {SENTENCES[result.verdict]} {result.statistic} decides.",
        "",
        f"Closed memories: {result.memories:,}, {result.eligible:,} of them without overlap in "
        f"time, the latest {result.asked:,} asked, {result.questions:,} with enough neighbours.",
    ]
    if not result.findings:
        told += ["", f"That is too few questions for a verdict: {FEWEST_QUESTIONS} are needed."]
    return told


def _cells(finding: EvaluationFinding) -> list[str]:
    return [
        finding.statistic,
        f"{finding.value:.4g}",
        f"{finding.placebo:.4g}",
        f"{finding.effect:+.4g}",
        f"{finding.low:+.4g} to {finding.high:+.4g}",
        f"{finding.detectable:.4g}",
        f"{finding.p_helps:.3g}",
        f"{finding.holm_helps:.3g}",
    ]


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _counts(finding: EvaluationFinding) -> tuple[list[int], int]:
    """Return how many placebos lie in each of BINS bins, and the bin of the memory."""
    everything = [*finding.placebos, finding.value]
    low, width = min(everything), max(everything) - min(everything)
    at = [min(BINS - 1, int(BINS * (v - low) / width)) if width > 0 else 0 for v in everything]
    counts = [at[:-1].count(bin_) for bin_ in range(BINS)]
    return counts, at[-1]


def _strip(finding: EvaluationFinding) -> str:
    counts, own = _counts(finding)
    levels = " .:-=+*#%@"
    bars = [levels[-(-9 * count // max(counts))] for count in counts]
    return "|" + "".join("^" if i == own else bar for i, bar in enumerate(bars)) + "|"


def _plot(finding: EvaluationFinding) -> str:
    counts, own = _counts(finding)
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{HEIGHT - HEIGHT * n / max(counts):.1f}" '
        f'width="{step - 1:.1f}" height="{HEIGHT * n / max(counts):.1f}" fill="#999"/>'
        for i, n in enumerate(counts)
    )
    x = (own + 0.5) * step
    label = f"The placebos of {finding.statistic} (bars) and the memory (line)"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}">'
        f'{bars}<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#c00" '
        'stroke-width="3"/></svg>'
    )
