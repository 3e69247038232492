// SPDX-License-Identifier: Apache-2.0
/** Fingers as fingers, for a guest that takes touches. */

const MAX_FINGERS = 16;

export class DirectTouch {
  #screen;
  #send;
  #fingers = new Map(); // pointerId → {id, x, y}

  /** @param {(message: object) => void} send */
  constructor(screen, send) {
    this.#screen = screen;
    this.#send = send;
  }

  down(event) {
    const used = new Set([...this.#fingers.values()].map(({ id }) => id));
    const id = Array.from({ length: MAX_FINGERS }, (_, index) => index).find((index) => !used.has(index));
    if (id === undefined || this.#fingers.has(event.pointerId)) return;
    this.#tell({ id }, event, "down");
  }

  move(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    const { x, y } = this.#screen.toGuest(event.clientX, event.clientY);
    if (x !== finger.x || y !== finger.y) this.#tell(finger, event, "move");
  }

  up(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    this.#tell(finger, event, event.type === "pointerup" ? "up" : "cancel");
    this.#fingers.delete(event.pointerId);
  }

  /** The guest has forgotten them all. */
  reset() { this.#fingers.clear(); }

  #tell({ id }, event, phase) {
    const finger = { id, ...this.#screen.toGuest(event.clientX, event.clientY) };
    this.#fingers.set(event.pointerId, finger);
    this.#send({ type: "touch", phase, ...finger });
  }
}
