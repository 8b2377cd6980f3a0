// Builds dist/: index.html and the manifest of the application that it installs; a script, a style sheet and icons with
// hashes in their names; manifest.json, the list of these files; and card.html, the card of an item for programs of
// assistants, which is one file and is not served as a page.
// The same sources and packages give the same bytes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = process.argv[2] ?? join(here, "dist");

const bundle = (entry, format) =>
  build({
    absWorkingDir: here,
    bundle: true,
    charset: "utf8",
    entryNames: "assets/[name]-[hash]",
    entryPoints: [`src/${entry}.tsx`],
    format,
    // Calls of h are shorter than those of the JSX runtime.
    inject: ["src/jsx.ts"],
    jsx: "transform",
    jsxFactory: "h",
    jsxFragment: "Fragment",
    tsconfigRaw: {},
    legalComments: "none",
    metafile: true,
    minify: true,
    outdir: "dist",
    target: "es2022",
    write: false,
  });
const bundled = await bundle("app", "esm");

const files = new Map();
for (const file of bundled.outputFiles) files.set(file.path.slice(join(here, "dist").length + 1), file.contents);
const named = (ending) => [...files.keys()].find((name) => name.endsWith(ending));
// icon.png is icon.svg on its colour to the edge, for systems that draw no SVG or cut icons to a shape of their own.
for (const ending of ["svg", "png"]) {
  const icon = readFileSync(join(here, "src", `icon.${ending}`));
  files.set(`assets/icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.${ending}`, icon);
}
for (const name of ["index.html", "manifest.webmanifest"]) {
  const text = readFileSync(join(here, "src", name), "utf8")
    .replace("{script}", `/${named(".js")}`)
    .replace("{icon}", `/${named(".svg")}`)
    .replace("{picture}", `/${named(".png")}`)
    .replace("{style}", `/${named(".css")}`);
  files.set(name, Buffer.from(text));
}

const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const { outputFiles } = await bundle("card", "iife");
const [style, script] = ["css", "js"].map((ending) => outputFiles.find(({ path }) => path.endsWith(`.${ending}`)).text.trim());
const parts = { style, script, styleDigest: digest(style), scriptDigest: digest(script) };
const template = readFileSync(join(here, "src", "card.html"), "utf8");
const card = template.replace(/\{(\w+)\}/g, (_, name) => parts[name]);

// Packages whose code is in the bundle.
const packages = new Set(
  Object.keys(bundled.metafile.inputs)
    .map((name) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(name)?.[1])
    .filter(Boolean),
);
const licences = [...packages].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
  return { name, version, licence: license };
});
const listed = [...files].sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, contents]) => [
  name,
  { bytes: contents.length, sha256: createHash("sha256").update(contents).digest("hex") },
]);
const manifest = `${JSON.stringify({ files: Object.fromEntries(listed), packages: licences }, null, 2)}\n`;

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, "assets"), { recursive: true });
for (const [name, contents] of files) writeFileSync(join(dist, name), contents);
writeFileSync(join(dist, "manifest.json"), manifest);
writeFileSync(join(dist, "card.html"), card);
