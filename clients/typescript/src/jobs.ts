import { ServiceProblem } from "./errors.js";

/** Work that the service does in the background. */
interface Job {
  id: string;
  status: string;
  problem?: Record<string, unknown> | null;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/** Ask for a job until it is finished, and return it. Throws the problem of one that failed. */
export async function finished<T extends Job>(started: T, look: (id: string) => Promise<T>): Promise<T> {
  let found = started;
  for (let pause = FIRST_PAUSE_MS; isActive(found); pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    await new Promise((wake) => setTimeout(wake, pause));
    found = await look(found.id);
  }
  if (found.problem) throw new ServiceProblem(found.problem);
  return found;
}

function isActive({ status }: Job): boolean {
  return status === "queued" || status === "running";
}
