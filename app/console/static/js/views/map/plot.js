// The map itself: drawn, moved, zoomed, hovered and lassoed.

import { html, useEffect, useMemo, useRef, useState } from "../../../vendor/ui.js";
import { count, time } from "../../core/format.js";
import { Reward } from "../../parts/words.js";
import { fitted, Painter } from "./draw.js";
import { Grid } from "./near.js";

const REACH_PX = 10;
const CLICK_PX = 4;
const ZOOM = 1.25;
const STEP_PX = 60;

export function Plot({ columns, colours, isShown, chosen, mode, lasso, selected, agent, onChoose, onLasso }) {
  const canvas = useRef(null);
  const painter = useRef(null);
  const view = useRef(null);
  const drag = useRef(null);
  const [hovered, setHovered] = useState(-1);
  const [drawn, setDrawn] = useState(null);
  const [, setFrame] = useState(0);
  const grid = useMemo(() => new Grid(columns), [columns]);
  const ratio = Math.min(2, window.devicePixelRatio || 1);

  const paint = () => {
    const element = canvas.current;
    if (!element || !view.current) return;
    painter.current ??= new Painter(element);
    const size = Math.round((columns.id.length > 20000 ? 2 : columns.id.length > 4000 ? 3 : 5) * ratio);
    painter.current.draw({ columns, pixels: colours.pixels, isShown, view: view.current, selected, size });
    setFrame((n) => n + 1); // what lies over the canvas moves with it
  };
  const later = useRef(0);
  const repaint = () => {
    cancelAnimationFrame(later.current);
    later.current = requestAnimationFrame(paint);
  };

  useEffect(() => {
    const element = canvas.current;
    const resized = new ResizeObserver(() => {
      const box = element.getBoundingClientRect();
      if (!box.width || !box.height) return; // it has just been taken off the page
      element.width = Math.round(box.width * ratio);
      element.height = Math.round(box.height * ratio);
      view.current = fitted(columns, element.width, element.height);
      paint();
    });
    resized.observe(element);
    return () => resized.disconnect();
  }, [columns]);
  useEffect(repaint, [colours, isShown, selected, columns]);
  useEffect(() => {
    // Preact adds wheel listeners as passive ones in some browsers: this one keeps the page still.
    const element = canvas.current;
    const wheel = (event) => {
      event.preventDefault();
      zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, place(event));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [columns, colours, isShown, selected]);

  const place = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
  };
  const toData = ({ x, y }) => [(x - view.current.left) / view.current.scale, (view.current.top - y) / view.current.scale];
  const toScreen = ([x, y]) => [
    (x * view.current.scale + view.current.left) / ratio, (view.current.top - y * view.current.scale) / ratio,
  ];
  const at = (event) => {
    const [x, y] = toData(place(event));
    return grid.nearest(x, y, (REACH_PX * ratio) / view.current.scale, isShown);
  };
  const zoom = (factor, around) => {
    const { scale, left, top } = view.current;
    view.current = {
      scale: scale * factor,
      left: around.x - (around.x - left) * factor,
      top: around.y - (around.y - top) * factor,
    };
    repaint();
  };
  const middle = () => ({ x: canvas.current.width / 2, y: canvas.current.height / 2 });
  const move = (dx, dy) => {
    view.current = { ...view.current, left: view.current.left + dx, top: view.current.top + dy };
    repaint();
  };
  const reset = () => {
    view.current = fitted(columns, canvas.current.width, canvas.current.height);
    repaint();
  };

  const down = (event) => {
    if (event.button !== 0) return;
    canvas.current.setPointerCapture(event.pointerId);
    const isLasso = mode === "lasso" || event.shiftKey;
    drag.current = { from: place(event), last: place(event), isLasso, path: [toData(place(event))] };
  };
  const moved = (event) => {
    const going = drag.current;
    if (!going) {
      setHovered(at(event));
      return;
    }
    const now = place(event);
    if (going.isLasso) {
      going.path.push(toData(now));
      setDrawn([...going.path]);
    } else move(now.x - going.last.x, now.y - going.last.y);
    going.last = now;
  };
  const up = (event) => {
    const going = drag.current;
    drag.current = null;
    setDrawn(null);
    if (!going) return;
    const distance = Math.hypot(going.last.x - going.from.x, going.last.y - going.from.y);
    if (distance < CLICK_PX * ratio && going.path.length < 4) onChoose(at(event));
    else if (going.isLasso && going.path.length > 4) onLasso(going.path);
  };
  const KEYS = {
    ArrowLeft: () => move(STEP_PX * ratio, 0),
    ArrowRight: () => move(-STEP_PX * ratio, 0),
    ArrowUp: () => move(0, STEP_PX * ratio),
    ArrowDown: () => move(0, -STEP_PX * ratio),
    "+": () => zoom(ZOOM, middle()),
    "-": () => zoom(1 / ZOOM, middle()),
    0: reset,
    Enter: () => {
      const [x, y] = toData(middle());
      onChoose(grid.nearest(x, y, canvas.current.width / view.current.scale, isShown));
    },
  };
  const pressed = (event) => {
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };

  const outline = drawn ?? lasso;
  const shownCount = isShown.reduce((sum, value) => sum + value, 0);
  return html`<div class="plot">
    <canvas ref=${canvas} tabindex="0" role="application" class=${mode === "lasso" ? "lasso" : ""}
      aria-label=${`Map of ${agent}: ${count(shownCount)} moments. Arrow keys move, plus and minus zoom, 0 shows all, Enter chooses the moment in the middle.`}
      onPointerDown=${down} onPointerMove=${moved} onPointerUp=${up} onPointerCancel=${up}
      onPointerLeave=${() => setHovered(-1)} onKeyDown=${pressed}></canvas>
    ${view.current && html`<svg class="plot-over" aria-hidden="true">
      ${outline && html`<polygon points=${outline.map((corner) => toScreen(corner).join(",")).join(" ")} />`}
      ${[chosen, hovered].map((i) => {
        if (i < 0) return null;
        const [x, y] = toScreen([columns.x[i], columns.y[i]]);
        return html`<circle cx=${x} cy=${y} r="7" class=${i === chosen ? "chosen" : ""} />`;
      })}
    </svg>`}
    ${hovered >= 0 && view.current && html`<${Hovered} columns=${columns} at=${hovered} place=${toScreen([columns.x[hovered], columns.y[hovered]])}
      width=${canvas.current.clientWidth} />`}
    <div class="plot-tools">
      <button class="button" aria-label="Zoom in" onClick=${() => zoom(ZOOM * ZOOM, middle())}>+</button>
      <button class="button" aria-label="Zoom out" onClick=${() => zoom(1 / ZOOM / ZOOM, middle())}>−</button>
      <button class="button" onClick=${reset}>All</button>
    </div>
  </div>`;
}

const TIP_PX = 230;

function Hovered({ columns, at, place: [x, y], width }) {
  const name = (column) => columns[column].names[columns[column].codes[at]];
  const left = x + TIP_PX + 20 > width ? Math.max(0, x - TIP_PX - 12) : x + 14;
  return html`<div class="tip" style=${{ left: `${left}px`, top: `${Math.max(0, y - 30)}px` }}>
    <strong>${name("product_id")}</strong>
    <span>${time(columns.timestamp[at])}</span>
    <span>${name("regime")} · ${name("action") ?? "no action"}</span>
    <span><${Reward} value=${columns.reward[at]} /></span>
  </div>`;
}
