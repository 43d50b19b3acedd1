// The question as a program asks it, to copy.

import { html, useState } from "../../../vendor/ui.js";
import { ROOT } from "../../core/api.js";
import { key } from "../../core/session.js";
import { Choice, Copyable } from "../../parts/fields.js";

const KINDS = [["curl", "curl"], ["python", "Python"]];

export function RequestCode({ body }) {
  const [kind, setKind] = useState("curl");
  return html`<section class="card" aria-label="The same as code">
    <div class="card-head">
      <h2>The same as code</h2>
      <${Choice} name="Language" value=${kind} options=${KINDS} onChange=${setKind} />
    </div>
    <div class="card-body">
      <${Copyable} name=${kind === "curl" ? "curl" : "Python"}
        text=${kind === "curl" ? curl(body) : python(body)} />
    </div>
  </section>`;
}

const BASE = ROOT.href.replace(/\/$/, "");

/** For a POSIX shell. The key comes from the environment: it is never part of a text to share. */
function curl(body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const authorization = key.value ? ` \\\n  -H "Authorization: Bearer $MEMORY_API_KEY"` : "";
  return `curl -sS ${BASE}/v1/episodic/estimate \\
  -H 'Content-Type: application/json'${authorization} \\
  -d '${quoted}'`;
}

const NAMES = {
  product_id: "product", regime: "regime", action: "action", scope: "scope", as_of: "as_of",
  distinct: "distinct",
};

/** A string of Python: what JSON escapes, Python reads the same way. */
const literal = (value) => JSON.stringify(value);

function python(body) {
  const options = Object.entries(NAMES)
    .filter(([name]) => body[name] != null)
    .map(([name, argument]) => `, ${argument}=${literal(body[name])}`)
    .join("");
  const words = body.state_vector.match(/.{1,76}/g).map((part) => `    "${part}"`).join("\n");
  return `import base64

import numpy as np
from coinswarm_memory import Memory

state = np.frombuffer(base64.b64decode(
${words}
), dtype="<f4")

with Memory(${literal(BASE)}) as memory:  # the key: MEMORY_API_KEY
    agent = memory.agent(${literal(body.agent_id)})
    estimate = agent.estimate(state, k=${body.top_k}${options})
    for action in estimate.actions:
        print(action.action, action.value, action.count)
    for moment in agent.recall(state, k=${body.top_k}${options}):
        print(moment.distance, moment.timestamp, moment.action, moment.reward)
`;
}
