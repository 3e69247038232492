// SPDX-License-Identifier: Apache-2.0
/** Asks for a guest's screen of the window's size, in device pixels, once the window has come to rest. */

const REST_MS = 150;

/** Returns an element's size in device pixels: as the browser lays it out, where it says so and means these pixels. */
function devicePixels({ contentRect, devicePixelContentBoxSize }) {
  const width = Math.round(contentRect.width * devicePixelRatio);
  const height = Math.round(contentRect.height * devicePixelRatio);
  const box = devicePixelContentBoxSize?.[0];
  // Emulated screens tell the ratio but lay out without it.
  const isClose = box && Math.abs(box.inlineSize - width) <= 2 && Math.abs(box.blockSize - height) <= 2;
  return isClose ? { width: box.inlineSize, height: box.blockSize } : { width, height };
}

export class Resizer {
  #send;
  #wanted = null;
  #sent = "";
  #timer = 0;
  #isAllowed = false;

  /** @param {(message: object) => boolean} send */
  constructor(stage, send) {
    this.#send = send;
    const observer = new ResizeObserver(([entry]) => {
      this.#wanted = devicePixels(entry);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#flush(), REST_MS);
    });
    try {
      observer.observe(stage, { box: "device-pixel-content-box" });
    } catch {
      observer.observe(stage);
    }
  }

  /** Whether the session follows this viewer; false in view-only and fixed-size sessions. */
  set allowed(value) {
    this.#isAllowed = value;
    this.#flush();
  }

  /** A new connection, or the size has become ours to choose: say it again. */
  repeat() {
    this.#sent = "";
    this.#flush();
  }

  #flush() {
    if (!this.#isAllowed || !this.#wanted || document.visibilityState !== "visible") return;
    const { width, height } = this.#wanted;
    const key = `${width}x${height}`;
    if (key === this.#sent || width < 1 || height < 1) return;
    if (this.#send({ type: "resize", width, height })) this.#sent = key;
  }
}
