// SPDX-License-Identifier: Apache-2.0
/** Sends the pointer's motion on the lossy channel: at once, then at most once in `INTERVAL_MS`, and the last place twice. */

const INTERVAL_MS = 4;
// The channel may lose the last message, and nothing would follow it.
const REPEAT_MS = 80;

export class MotionSender {
  #send;
  #seq = 0;
  #place = null;
  #sum = { x: 0, y: 0 };
  #pending = null;
  #timer = 0;
  #repeat = 0;
  #lastMs = -Infinity;

  /** @param {(message: object) => boolean} send */
  constructor(send) {
    this.#send = send;
  }

  /** A new channel: its numbers and sums begin anew. */
  reset() {
    this.cancel();
    this.#seq = 0;
    this.#sum = { x: 0, y: 0 };
    this.#place = null;
  }

  /** The pointer is at a guest's pixel. */
  moveTo(x, y) {
    if (this.#place && this.#place.x === x && this.#place.y === y) return;
    this.#place = { x, y };
    this.#pending = () => ({ type: "motion", x, y });
    this.#schedule();
  }

  /** The pointer has moved by guest pixels (pointer lock). */
  moveBy(dx, dy) {
    this.#sum.x += dx;
    this.#sum.y += dy;
    this.#place = null;
    this.#pending = () => ({ type: "relative", ...this.#sum });
    this.#schedule();
  }

  /** Sends what waits: a button or wheel message follows on the other channel. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const make = this.#pending;
    if (!make) return;
    this.#pending = null;
    this.#lastMs = performance.now();
    this.#transmit(make);
    clearTimeout(this.#repeat);
    this.#repeat = setTimeout(() => this.#transmit(make), REPEAT_MS);
  }

  /** Forgets what waits. */
  cancel() {
    clearTimeout(this.#timer);
    clearTimeout(this.#repeat);
    this.#timer = 0;
    this.#pending = null;
  }

  #schedule() {
    if (this.#timer) return;
    const wait = this.#lastMs + INTERVAL_MS - performance.now();
    if (wait <= 0) this.flush();
    else this.#timer = setTimeout(() => this.flush(), wait);
  }

  #transmit(make) {
    const { type, x, y } = make();
    this.#send({ type, seq: ++this.#seq, x, y });
  }
}
