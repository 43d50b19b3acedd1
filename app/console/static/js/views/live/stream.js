// The stream of what happens, read with the visitor's key.
//
// EventSource sends no Authorization header, so the stream is read by fetch.

import { useEffect, useState } from "../../../vendor/ui.js";
import { send } from "../../core/api.js";
import { key } from "../../core/session.js";

const KEPT = 500;
const SECONDS = 120;
const AGAIN_MS = 2000;
const STREAM_MS = 600000;

/** What happened since the view was opened: the latest events, and counts of each second. */
export function useLive(isPaused) {
  const [state, setState] = useState({ events: [], seconds: [], lost: 0, isOpen: false, problem: null });
  useEffect(() => {
    if (isPaused) {
      setState((former) => ({ ...former, isOpen: false }));
      return undefined;
    }
    const controller = new AbortController();
    listen(controller.signal, setState);
    return () => controller.abort();
  }, [isPaused, key.value]);
  return state;
}

async function listen(signal, setState) {
  while (!signal.aborted) {
    try {
      const response = await send("GET", "/v1/live", { signal, accept: "text/event-stream", deadlineMs: STREAM_MS });
      setState((former) => ({ ...former, isOpen: true, problem: null }));
      for await (const message of messages(response.body)) setState((former) => taken(former, JSON.parse(message)));
      continue; // its time was over
    } catch (problem) {
      if (signal.aborted) return;
      setState((former) => ({ ...former, problem: problem.name === "Problem" ? problem : former.problem }));
      if (problem.name === "Problem" && !problem.retryable) {
        setState((former) => ({ ...former, isOpen: false }));
        return;
      }
    }
    setState((former) => ({ ...former, isOpen: false }));
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** The `data` of each message of an event stream (https://html.spec.whatwg.org/#event-stream-interpretation). */
async function* messages(body) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of chunks(body)) {
    text += decoder.decode(chunk, { stream: true });
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const message of whole) {
      const data = message.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

let serial = 0;

function taken(former, { events, lost }) {
  const numbered = events.map((event) => ({ ...event, key: (serial += 1) }));
  const seconds = new Map(former.seconds.map((second) => [second.at, second]));
  for (const event of events) {
    const at = Math.floor(event.at);
    const second = { ...(seconds.get(at) ?? { at, counts: {} }) };
    second.counts = { ...second.counts, [event.kind]: (second.counts[event.kind] ?? 0) + (event.count ?? 1) };
    seconds.set(at, second);
  }
  return {
    ...former,
    events: [...numbered.reverse(), ...former.events].slice(0, KEPT),
    seconds: [...seconds.values()].sort((a, b) => a.at - b.at).slice(-SECONDS),
    lost: former.lost + lost,
  };
}
