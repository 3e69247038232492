// SPDX-License-Identifier: Apache-2.0
/** The server's clock as seen from here: half of the shortest recent round trip is taken for the way (Cristian). */

const KEPT = 20;

export class Clock {
  #samples = [];

  /**
   * @param {number} sentMs when the ping left (performance.now())
   * @param {number} serverNs the server's clock when it answered
   * @param {number} nowMs when the pong came
   */
  add(sentMs, serverNs, nowMs) {
    const roundTripMs = nowMs - sentMs;
    if (!(roundTripMs >= 0) || !Number.isFinite(serverNs)) return;
    this.#samples.push({ roundTripMs, offsetMs: serverNs / 1e6 - (sentMs + roundTripMs / 2) });
    if (this.#samples.length > KEPT) this.#samples.shift();
  }

  reset() { this.#samples = []; }

  get #best() {
    return this.#samples.reduce((best, sample) => (!best || sample.roundTripMs < best.roundTripMs ? sample : best), null);
  }

  /** Server's milliseconds minus ours; null before the first answer. */
  get offsetMs() { return this.#best?.offsetMs ?? null; }

  /** The last round trip; null before the first answer. */
  get roundTripMs() { return this.#samples.at(-1)?.roundTripMs ?? null; }

  /** Returns a server time (ns) on our clock (performance.now(), ms); NaN before the first answer. */
  toLocalMs(serverNs) { return serverNs / 1e6 - (this.offsetMs ?? NaN); }
}
