// A runbook, read beside the service that it is about.

import { html } from "../../../vendor/ui.js";
import { send } from "../../core/api.js";
import { useResource } from "../../core/resource.js";
import { link } from "../../core/route.js";
import { Resource } from "../../parts/notice.js";
import { Markdown } from "./markdown.js";

export function View({ params }) {
  const page = params.page ?? "README";
  const text = useResource(async (signal) => {
    const response = await send("GET", `/console/runbooks/${encodeURIComponent(page)}.md`, { signal, accept: "text/markdown" });
    return response.text();
  }, [page]);
  return html`<div class="view">
    <nav class="small" aria-label="Way back">
      <a href=${link("health")}>Health</a> / <a href=${link("runbook", { page: "README" })}>Runbooks</a>
    </nav>
    <${Resource} resource=${text} what="the runbook">
      ${(markdown) => html`<article class="card card-body markdown"><${Markdown} text=${markdown} /></article>`}
    <//>
  </div>`;
}
