// What a view has asked the service for: loading, there, or refused.

import { useCallback, useLayoutEffect, useRef, useState } from "../../vendor/ui.js";
import { key } from "./session.js";

/**
 * Ask again whenever `dependencies` change; the latest question's answer counts.
 *
 * Returns `{data, problem, isLoading, reload}`. While a later question is in progress, `data` is what
 * the former one said. `ask` gets an AbortSignal; when it is null nothing is asked.
 */
export function useResource(ask, dependencies, { everyMs = 0 } = {}) {
  const [state, setState] = useState({ data: null, problem: null, isLoading: ask !== null });
  const [round, setRound] = useState(0);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  const latest = useRef(ask);
  latest.current = ask;
  // Not after the next paint, which a busy page may be long in coming to.
  useLayoutEffect(() => {
    if (latest.current === null) {
      setState({ data: null, problem: null, isLoading: false });
      return undefined;
    }
    const controller = new AbortController();
    let timer = 0;
    const run = async () => {
      try {
        const data = await latest.current(controller.signal);
        if (!controller.signal.aborted) setState({ data, problem: null, isLoading: false });
      } catch (problem) {
        if (controller.signal.aborted) return;
        if (problem.name !== "Problem") reportError(problem);
        setState((former) => ({ data: former.data, problem, isLoading: false }));
      }
      if (everyMs && !controller.signal.aborted) timer = setTimeout(run, everyMs);
    };
    setState((former) => (former.isLoading ? former : { ...former, isLoading: true }));
    run();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [...dependencies, key.value, round]);
  return { ...state, reload };
}

const AT_ONCE = 4;

/** What `ask` says of each item, in order, a few asked at once. */
export async function inTurns(items, ask) {
  const found = new Array(items.length);
  let next = 0;
  const work = async () => {
    while (next < items.length) {
      const i = next;
      next += 1;
      found[i] = await ask(items[i]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return found;
}
