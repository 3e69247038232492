// SPDX-License-Identifier: Apache-2.0
/** Wheel events in notches: what a mouse says in pixels, lines or pages, and a touchpad in fractions. */

// Browsers scroll by about this much for one notch of a mouse's wheel.
const PIXELS = 100;
const LINES = 3;
const PAGE_NOTCHES = 8;
const WHEEL_DELTA = 120;

/** Returns {dx, dy} in notches; positive is right and down. */
export function toNotches(event) {
  return {
    dx: notches(event.deltaX, event.wheelDeltaX, event.deltaMode),
    dy: notches(event.deltaY, event.wheelDeltaY, event.deltaMode),
  };
}

function notches(delta, wheelDelta, mode) {
  if (!delta) return 0;
  if (mode === 1) return delta / LINES;
  if (mode === 2) return delta * PAGE_NOTCHES;
  // Whole notches say so here; a touchpad's deltas are three times its pixels.
  if (wheelDelta && wheelDelta % WHEEL_DELTA === 0 && Math.abs(delta) * 3 !== Math.abs(wheelDelta)) {
    return -wheelDelta / WHEEL_DELTA;
  }
  return delta / PIXELS;
}
