// The Markdown that the runbooks are written in, as elements. Nothing of it is ever HTML.

import { html } from "../../../vendor/ui.js";
import { link } from "../../core/route.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    parts.push(text.slice(at, found.index));
    const [, code, strong, title, target] = found;
    if (code) parts.push(html`<code>${code}</code>`);
    else if (strong) parts.push(html`<strong>${strong}</strong>`);
    else parts.push(html`<${Link} title=${title} target=${target} />`);
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts;
}

/** Runbooks lead to each other; what is elsewhere in the repository is named, not linked. */
function Link({ title, target }) {
  const page = /^([a-z0-9-]+|README)\.md(#.*)?$/.exec(target)?.[1];
  if (page) return html`<a href=${link("runbook", { page })}>${inline(title)}</a>`;
  if (target.startsWith("#")) return inline(title);
  return html`${inline(title)} (<code>${target}</code>)`;
}

const cells = (line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

const BLOCKS = [
  {
    starts: (line) => line.startsWith("```"),
    take: (lines) => {
      const end = lines.findIndex((line, i) => i > 0 && line.startsWith("```"));
      const until = end < 0 ? lines.length : end;
      return [html`<pre class="code" tabindex="0">${lines.slice(1, until).join("\n")}</pre>`, until + 1];
    },
  },
  {
    starts: (line) => /^#{1,4} /.test(line),
    take: ([line]) => {
      const level = line.indexOf(" ");
      const Tag = `h${Math.min(level, 3)}`;
      return [html`<${Tag}>${inline(line.slice(level + 1))}<//>`, 1];
    },
  },
  {
    starts: (line) => line.startsWith("|"),
    take: (lines) => {
      const rows = lines.slice(0, countWhile(lines, (line) => line.startsWith("|")));
      const [head, , ...body] = rows;
      return [
        html`<div class="table-frame" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr>${cells(head).map((cell) => html`<th scope="col">${inline(cell)}</th>`)}</tr></thead>
          <tbody>${body.map((row) => html`<tr>${cells(row).map((cell) => html`<td>${inline(cell)}</td>`)}</tr>`)}</tbody>
        </table></div>`,
        rows.length,
      ];
    },
  },
  { starts: (line) => line.startsWith("<!--"), take: comment },
  { starts: (line) => /^\s*([-*]|\d+\.) /.test(line), take: list },
];

function countWhile(lines, holds) {
  const end = lines.findIndex((line) => !holds(line));
  return end < 0 ? lines.length : end;
}

/** What tests read of a page is not for people. */
function comment(lines) {
  return [null, countWhile(lines, (line) => !line.includes("-->")) + 1];
}

function list(lines) {
  const marker = /^\s*([-*]|\d+\.) /;
  const length = countWhile(lines, (line) => marker.test(line) || /^\s+\S/.test(line));
  const items = [];
  for (const line of lines.slice(0, length)) {
    if (marker.test(line)) items.push(line.replace(marker, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  const Tag = /^\s*\d/.test(lines[0]) ? "ol" : "ul";
  return [html`<${Tag}>${items.map((item) => html`<li>${inline(item)}</li>`)}<//>`, length];
}

const isBlock = (line) => BLOCKS.some(({ starts }) => starts(line));

export function Markdown({ text }) {
  const blocks = [];
  let lines = text.split("\n");
  while (lines.length) {
    const block = BLOCKS.find(({ starts }) => starts(lines[0]));
    if (block) {
      const [element, taken] = block.take(lines);
      blocks.push(element);
      lines = lines.slice(taken);
    } else if (!lines[0].trim()) {
      lines = lines.slice(1);
    } else {
      const length = Math.max(1, countWhile(lines, (line) => line.trim() && !isBlock(line)));
      blocks.push(html`<p>${inline(lines.slice(0, length).join(" "))}</p>`);
      lines = lines.slice(length);
    }
  }
  return blocks;
}
