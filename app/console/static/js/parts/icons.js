// Line drawings of 20 by 20 units.

import { html } from "../../vendor/ui.js";

const SHAPES = {
  ask: ["M9 3.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11Z", "m13.2 13.2 3.6 3.6"],
  map: ["M4 16.5V3.5", "M4 16.5h12.5", "M8 12h.01", "M11 8.5h.01", "M14.5 5.5h.01", "M13.5 11.5h.01"],
  swarm: [
    "M10 3.2a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z", "M4.8 12.8a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z",
    "M15.2 12.8a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z", "m9 7-3.3 5.8", "m11 7 3.3 5.8", "M7 14.8h6",
  ],
  live: ["M2.5 10.5h3.2l2.3-6 3.6 11 2.4-7 1.1 2h2.4"],
  patterns: ["M3.5 3.5h5v5h-5z", "M11.5 3.5h5v5h-5z", "M3.5 11.5h5v5h-5z", "M14 11.3v5.4", "M11.3 14h5.4"],
  health: ["M10 16.8S3.2 12.9 3.2 8.1A3.6 3.6 0 0 1 10 6.4a3.6 3.6 0 0 1 6.8 1.7c0 4.8-6.8 8.7-6.8 8.7Z"],
  sun: ["M10 6.6a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.8Z", "M10 2v1.6", "M10 16.4V18", "M2 10h1.6", "M16.4 10H18", "m4.3 4.3 1.2 1.2", "m14.5 14.5 1.2 1.2", "m4.3 15.7 1.2-1.2", "m14.5 5.5 1.2-1.2"],
  moon: ["M16.5 12A7 7 0 0 1 8 3.5a7 7 0 1 0 8.5 8.5Z"],
  clock: ["M10 2.8a7.2 7.2 0 1 1 0 14.4 7.2 7.2 0 0 1 0-14.4Z", "M10 6v4.2l2.7 1.6"],
  keyboard: ["M2.5 5.5h15v9h-15z", "M6 11.5h8", "M5.5 8.5h.01", "M8.5 8.5h.01", "M11.5 8.5h.01", "M14.5 8.5h.01"],
  actions: ["M3 5.5h8", "M15 5.5h2", "M3 14.5h2", "M9 14.5h8", "M13 3.7v3.6", "M7 12.7v3.6"],
};

export function Icon({ name }) {
  return html`<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    ${SHAPES[name].map((shape) => html`<path key=${shape} d=${shape} />`)}
  </svg>`;
}
