// What the JSON Schema of hub.toml says of a setting, and values as they are typed.
export interface Described {
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly type?: string;
  readonly "x-effect"?: string;
}
interface Node extends Described {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly anyOf?: readonly Node[];
  readonly oneOf?: readonly Node[];
  readonly items?: Node;
}

/** Return what a schema says of the setting at a path; of a value with kinds, what they have in common. */
export function described(schema: unknown, path: readonly string[]): Described {
  const root = schema as Node & { readonly $defs?: Readonly<Record<string, Node>> };
  const kinds = (node: Node): Node[] => {
    const inner = [...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.items ? [node.items] : [])];
    const other = node.$ref && root.$defs?.[node.$ref.split("/").at(-1) ?? ""];
    return [node, ...(other ? [other] : []), ...inner].flatMap((one) => (one === node ? [one] : kinds(one)));
  };
  let found: Node[] = [root];
  for (const part of path) found = found.flatMap(kinds).flatMap((node) => node.properties?.[part] ?? []);
  return Object.assign({}, ...found.flatMap(kinds).reverse()) as Described;
}

/** Return a value as a person types it: JSON, or a text as it is. */
export function spelled(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Return a value as it was typed: JSON, else a text. */
export function valued(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
