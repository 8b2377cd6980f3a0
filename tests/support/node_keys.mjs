// Does with the examples of PROTOCOL.md what a device does with keys and waits.
import { readFileSync } from "node:fs";
import { checkProof, keyId, signedText } from "../../hub/device/typescript/dist/keys.js";
import { waitAfter } from "../../hub/device/typescript/dist/route.js";

const { challenge, hello, nonce } = JSON.parse(readFileSync(0, "utf8"));
const { address, public_key, signed_at_ms } = hello.identity;
const waits = [
  [null, 0, 1],
  [null, 5_000, 1],
  [1006, 90_000, 1],
  [4510, 9, 0.5, 2000],
  [1012, 9, 1],
  [1012, 9, 1, 5000],
  [4509, 0, 1],
  [4503, 0, 1, 2000],
  [4510, 0, 1],
];
console.log(
  JSON.stringify({
    hub: await checkProof(challenge, address, nonce),
    text: signedText(challenge, hello, signed_at_ms, address),
    keyId: await keyId(public_key),
    waits: waits.map((given) => waitAfter(...given)),
  }),
);
