export declare const RESTARTING = 1012;
export declare const REPLACED = 4509;
export declare const PAIRING = 4510;
/** Return the address that devices connect to, or throw an error that says what is wrong with it. */
export declare function addressOf(text: string): string;
/** The `Host` header that is sent to an address. */
export declare function dialled(url: string): string;
/**
 * Milliseconds to wait before the next try, or null: stay away.
 *
 * @param code of the close; null: the connection broke.
 * @param awayMs milliseconds since the last connection that lasted: a wait is at most as long.
 * @param draw a random number from 0 to 1.
 */
export declare function waitAfter(code: number | null, awayMs: number, draw: number, retryAfterMs?: number | null): number | null;
/** Addresses of one hub, and the one to connect to next. */
export declare class Route {
    #private;
    current: string;
    constructor(given: readonly string[], random: () => number);
    /** Use the addresses that the hub names, in place of those that it named before. */
    learn(named: readonly string[]): void;
    /** Connect to this address first, if it is known. */
    beginAt(url: string): void;
    welcomed(): void;
    /** Turn to an address that was not tried since the last welcome; false: all were. */
    turn(): boolean;
    /** Turn to the address that the hub names; false: the device may not use it. */
    turnTo(named: string): boolean;
    /** Use the current address no more; false: there is no other. */
    leaveOut(): boolean;
}
/** Whether what is sent to an address can be read on its way. */
export declare function isInClear(url: string): boolean;
