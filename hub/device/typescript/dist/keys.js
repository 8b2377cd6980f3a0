const ALGORITHM = "Ed25519";
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"; // RFC 4648, 6
const CHECKED = 13; // characters that one check character covers
const GROUP = 7; // characters between two dashes
/** The hub cannot be trusted; nothing was shown to it. */
export class HubNotTrusted extends Error {
}
export function toBase64Url(bytes) {
    return btoa(binary(bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
export function toBase64(bytes) {
    return btoa(binary(bytes));
}
export function fromBase64Url(text) {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}
function binary(bytes) {
    let text = "";
    for (let start = 0; start < bytes.length; start += 0x8000) {
        text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
    }
    return text;
}
export async function sha256(bytes) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
/** Random bytes in base64url. */
export function nonce() {
    return toBase64Url(crypto.getRandomValues(new Uint8Array(32)));
}
/** Key pair of a device, made and kept by it. */
export class DeviceKey {
    publicKey;
    #secret;
    constructor(publicKey, secret) {
        this.publicKey = publicKey;
        this.#secret = secret;
    }
    /** Make a key pair; returns it with the text that `read` takes. */
    static async make() {
        const pair = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
        if (!("privateKey" in pair))
            throw new Error("no key pair was made");
        const secret = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
        const publicKey = toBase64Url(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
        const stored = `${publicKey}.${toBase64Url(secret)}`;
        return { key: await DeviceKey.read(stored), stored };
    }
    static async read(stored) {
        const [publicKey, secret] = stored.split(".");
        if (!publicKey || !secret)
            throw new Error("the store holds no key of a device");
        const key = await crypto.subtle.importKey("pkcs8", fromBase64Url(secret), ALGORITHM, false, ["sign"]);
        return new DeviceKey(publicKey, key);
    }
    async sign(text) {
        const signature = await crypto.subtle.sign(ALGORITHM, this.#secret, new TextEncoder().encode(text));
        return toBase64Url(new Uint8Array(signature));
    }
}
/**
 * Check that the hub has signed the challenge for this connection.
 *
 * @returns its public key.
 */
export async function checkProof(challenge, address, deviceNonce) {
    const proof = challenge.proof;
    if (!proof)
        throw new HubNotTrusted(`${address} proves no key; update this hub, and no proxy may drop subprotocols`);
    if (proof.address !== address)
        throw new HubNotTrusted(`${address} signed as ${proof.address}, which was not dialled`);
    const told = ["hub-challenge-v1", challenge.hub_id, challenge.nonce, String(challenge.ts_ms)];
    const text = lines(...told, proof.public_key, address, deviceNonce);
    const key = await crypto.subtle.importKey("raw", fromBase64Url(proof.public_key), ALGORITHM, false, ["verify"]);
    const bytes = new TextEncoder().encode(text);
    if (!(await crypto.subtle.verify(ALGORITHM, key, fromBase64Url(proof.signature), bytes))) {
        throw new HubNotTrusted(`the signature of ${address} is not that of the key that it shows`);
    }
    return proof.public_key;
}
/** The text that a device signs with its key. */
export function signedText(challenge, hello, signedAtMs, address) {
    const versions = hello.protocol ?? { min: 1, max: 1 };
    return lines("hub-device-hello-v2", challenge.hub_id, challenge.nonce, hello.device_id ?? "", hello.client?.name ?? "", hello.client?.version ?? "", String(versions.min), String(versions.max), String(signedAtMs), challenge.proof?.public_key ?? "", address);
}
function lines(...parts) {
    if (parts.some((part) => part.includes("\n")))
        throw new HubNotTrusted("a signed part has a line break");
    return parts.join("\n");
}
/** A key's id in the form that people compare: eight groups of seven characters. */
export async function keyId(publicKey) {
    const digest = await crypto.subtle.digest("SHA-256", fromBase64Url(publicKey));
    let bits = [...new Uint8Array(digest)].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, "0");
    const id = (bits.match(/.{5}/g) ?? []).map((five) => ALPHABET[parseInt(five, 2)]).join("");
    const parts = id.match(new RegExp(`.{${CHECKED}}`, "g")) ?? [];
    const text = parts.map((part) => part + checkCharacter(part)).join("");
    return (text.match(new RegExp(`.{${GROUP}}`, "g")) ?? []).join("-");
}
function checkCharacter(text) {
    let total = 0;
    [...text].reverse().forEach((character, place) => {
        const value = ALPHABET.indexOf(character) * (place % 2 === 0 ? 2 : 1);
        total += Math.floor(value / 32) + (value % 32);
    });
    return ALPHABET[(32 - (total % 32)) % 32] ?? "";
}
