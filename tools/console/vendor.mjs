// Write the console's and its tests' third-party modules, their licences and a lock of what they are.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const modules = join(here, "node_modules");
const CONSOLE = join(root, "app", "console", "static", "vendor");
const TESTS = join(root, "tests", "browser", "vendor");

const BUNDLES = [
  { file: "ui.js", entry: join(here, "ui.js"), packages: ["preact", "@preact/signals", "@preact/signals-core", "htm"] },
  { file: "uplot.js", entry: join(modules, "uplot", "dist", "uPlot.esm.js"), packages: ["uplot"] },
];
const COPIES = [
  { folder: CONSOLE, file: "uplot.css", from: "uplot/dist/uPlot.min.css", package: "uplot" },
  { folder: TESTS, file: "axe.min.js", from: "axe-core/axe.min.js", package: "axe-core" },
];

const locked = JSON.parse(await readFile(join(here, "package-lock.json"), "utf8")).packages;

function source(name) {
  const { version, license, integrity } = locked[`node_modules/${name}`];
  return { name, version, license, integrity };
}

async function sha256(path) {
  return createHash("sha256").update(await readFile(path)).digest("hex");
}

async function licence(name, folder) {
  for (const candidate of ["LICENSE", "LICENSE.md", "LICENSE.txt"]) {
    try {
      const text = await readFile(join(modules, name, candidate), "utf8");
      const file = `LICENSE-${name.replace("@", "").replace("/", "-")}.txt`;
      await writeFile(join(folder, file), text.replace(/\r\n/g, "\n").trimEnd() + "\n");
      return;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  throw new Error(`${name} has no licence file: look for it and name it here.`);
}

for (const folder of [CONSOLE, TESTS]) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}
const locks = new Map([[CONSOLE, {}], [TESTS, {}]]);
for (const bundle of BUNDLES) {
  const outfile = join(CONSOLE, bundle.file);
  await build({
    entryPoints: [bundle.entry], bundle: true, minify: true, format: "esm", target: "es2022", outfile,
    legalComments: "none", nodePaths: [modules], logLevel: "warning",
  });
  locks.get(CONSOLE)[bundle.file] = { sha256: await sha256(outfile), packages: bundle.packages.map(source) };
  for (const name of bundle.packages) await licence(name, CONSOLE);
}
for (const copy of COPIES) {
  const target = join(copy.folder, copy.file);
  await copyFile(join(modules, copy.from), target);
  locks.get(copy.folder)[copy.file] = { sha256: await sha256(target), packages: [source(copy.package)] };
  await licence(copy.package, copy.folder);
}
for (const [folder, files] of locks) {
  await writeFile(join(folder, "vendor.lock.json"), JSON.stringify({ files }, null, 2) + "\n");
}
