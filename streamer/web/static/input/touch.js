// SPDX-License-Identifier: Apache-2.0
/** Fingers as a mouse: tap, drag, long press (right button), two fingers to scroll. */

const SLOP_PX = 10;
const LONG_PRESS_MS = 550;
const PIXELS_A_NOTCH = 40;

export class Touch {
  #pointer;
  #fingers = new Map();
  #gesture = "none"; // none, waiting, dragging, scrolling, done
  #start = null;
  #timer = 0;

  /** @param {{moveTo: (point) => void, button: (number, down) => void, wheel: (dx, dy) => void}} pointer */
  constructor(pointer) {
    this.#pointer = pointer;
  }

  down(event) {
    this.#fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#fingers.size === 1) {
      this.#gesture = "waiting";
      this.#start = { x: event.clientX, y: event.clientY };
      this.#timer = setTimeout(() => this.#longPress(), LONG_PRESS_MS);
    } else if (this.#gesture === "waiting") {
      clearTimeout(this.#timer);
      this.#gesture = "scrolling";
      this.#pointer.moveTo(this.#start);
    }
  }

  move(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    const dx = event.clientX - finger.x;
    const dy = event.clientY - finger.y;
    finger.x = event.clientX;
    finger.y = event.clientY;
    if (this.#gesture === "waiting" && Math.hypot(finger.x - this.#start.x, finger.y - this.#start.y) > SLOP_PX) {
      clearTimeout(this.#timer);
      this.#gesture = "dragging";
      this.#pointer.moveTo(this.#start);
      this.#pointer.button(1, true);
    }
    if (this.#gesture === "dragging") this.#pointer.moveTo(finger);
    if (this.#gesture === "scrolling") {
      // The content goes with the fingers; each finger counts for its part.
      const share = PIXELS_A_NOTCH * this.#fingers.size;
      this.#pointer.wheel(-dx / share, -dy / share);
    }
  }

  up(event) {
    if (!this.#fingers.delete(event.pointerId)) return;
    clearTimeout(this.#timer);
    if (this.#gesture === "waiting" && event.type === "pointerup") {
      this.#pointer.moveTo(this.#start);
      this.#pointer.button(1, true);
      this.#pointer.button(1, false);
    }
    if (this.#gesture === "dragging" && this.#fingers.size === 0) this.#pointer.button(1, false);
    if (this.#fingers.size === 0) this.#gesture = "none";
  }

  reset() {
    clearTimeout(this.#timer);
    this.#fingers.clear();
    this.#gesture = "none";
  }

  #longPress() {
    this.#gesture = "done";
    this.#pointer.moveTo(this.#start);
    this.#pointer.button(3, true);
    this.#pointer.button(3, false);
    navigator.vibrate?.(20);
  }
}
