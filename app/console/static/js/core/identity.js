// What the service says of the visitor's key.

import { call } from "./api.js";
import { identity, isIdentified, key } from "./session.js";

/** Ask who this key is. A refusal is shown by the shell; without an answer the views say so. */
export async function askWhoami(asked) {
  try {
    const told = await call("GET", "/v1/whoami");
    if (key.value === asked) identity.value = told;
  } catch (problem) {
    if (problem.name !== "Problem") throw problem;
  }
  if (key.value === asked) isIdentified.value = true;
}
