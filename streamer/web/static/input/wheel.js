// SPDX-License-Identifier: Apache-2.0
/** Wheel events in notches: what a mouse says in pixels, lines or pages, and a touchpad in fractions. */

const PIXELS = 100;
const LINES = 3;
const PAGE_NOTCHES = 8;
const WHEEL_DELTA = 120;

/** Returns {dx, dy} in notches; positive is right and down. */
export function toNotches(event, dpr = devicePixelRatio) {
  // Firefox speaks in lines only to who asks for the mode first.
  const mode = event.deltaMode;
  return {
    dx: notches(mode, event.deltaX, event.wheelDeltaX, dpr),
    dy: notches(mode, event.deltaY, event.wheelDeltaY, dpr),
  };
}

function notches(mode, delta, wheelDelta, dpr) {
  if (!delta) return 0;
  if (mode === 1) return delta / LINES;
  if (mode === 2) return delta * PAGE_NOTCHES;
  if (!wheelDelta) return delta / PIXELS;
  // 120 is a notch whatever the system makes of it in pixels; with some scales of the page it is divided by them.
  const plain = -wheelDelta / WHEEL_DELTA;
  const scaled = plain * dpr;
  return !isWhole(plain) && isWhole(scaled) ? Math.round(scaled) : plain;
}

function isWhole(value) {
  return Math.abs(value - Math.round(value)) < 0.01;
}
