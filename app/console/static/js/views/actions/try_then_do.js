// An action in two steps: count what it would do, then do it.

import { html, useState } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { ProblemNotice } from "../../parts/notice.js";

/** `body`: the request without `dry_run`. `describe(answer)`: what was or would be done, in words. */
export function TryThenDo({ path, body, verb, describe, isEmpty, isReady = true }) {
  const [state, setState] = useState({ asked: null, tried: null, done: null, problem: null, isBusy: false });
  const asked = JSON.stringify(body);
  const isTried = state.tried !== null && state.asked === asked;
  const run = async (isDryRun) => {
    setState((former) => ({ ...former, isBusy: true, problem: null }));
    try {
      const answer = await call("POST", path, { body: { ...body, dry_run: isDryRun }, deadlineMs: 60000 });
      setState({ asked, tried: isDryRun ? answer : null, done: isDryRun ? null : answer, problem: null, isBusy: false });
    } catch (problem) {
      setState((former) => ({ ...former, problem, isBusy: false }));
    }
  };
  return html`
    ${state.problem && html`<${ProblemNotice} problem=${state.problem} />`}
    ${isTried && html`<p role="status">Would be done: ${describe(state.tried)}.</p>`}
    ${state.done && html`<p role="status" class="gain">Done: ${describe(state.done)}.</p>`}
    <div class="row">
      <button class="button" disabled=${state.isBusy || !isReady} onClick=${() => run(true)}>Count first</button>
      <button class="button danger" disabled=${state.isBusy || !isTried || isEmpty(state.tried)}
        onClick=${() => run(false)}>${verb}</button>
    </div>`;
}
