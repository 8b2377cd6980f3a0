import type { Challenge, DeviceHello } from "./protocol.js";
type Bytes = Uint8Array<ArrayBuffer>;
/** The hub cannot be trusted; nothing was shown to it. */
export declare class HubNotTrusted extends Error {
}
export declare function toBase64Url(bytes: Uint8Array): string;
export declare function toBase64(bytes: Uint8Array): string;
export declare function fromBase64Url(text: string): Bytes;
export declare function sha256(bytes: Uint8Array): Promise<string>;
/** Random bytes in base64url. */
export declare function nonce(): string;
/** Key pair of a device, made and kept by it. */
export declare class DeviceKey {
    #private;
    readonly publicKey: string;
    private constructor();
    /** Make a key pair; returns it with the text that `read` takes. */
    static make(): Promise<{
        key: DeviceKey;
        stored: string;
    }>;
    static read(stored: string): Promise<DeviceKey>;
    sign(text: string): Promise<string>;
}
/**
 * Check that the hub has signed the challenge for this connection.
 *
 * @returns its public key.
 */
export declare function checkProof(challenge: Challenge, address: string, deviceNonce: string): Promise<string>;
/** The text that a device signs with its key. */
export declare function signedText(challenge: Challenge, hello: DeviceHello, signedAtMs: number, address: string): string;
/** A key's id in the form that people compare: eight groups of seven characters. */
export declare function keyId(publicKey: string): Promise<string>;
export {};
