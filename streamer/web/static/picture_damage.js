// SPDX-License-Identifier: Apache-2.0
/** Where two decoded pictures differ. */

/** Damaged rows that are this far apart are converted apart. */
const BAND_GAP = 64;

/**
 * Returns the rectangles in which two pictures differ, even-sided and inside the picture; exported for tests.
 *
 * @param {Uint8Array} before planar 4:2:0 without gaps (luma, then both chroma planes), `after` the same
 * @param {number} width even
 * @param {number} height even
 */
export function findDamage(before, after, width, height) {
  const bands = [];
  let band = null;
  const note = (y, left, right, step) => {
    if (!band || y > band.bottom + BAND_GAP) bands.push(band = { left, right, top: y, bottom: y });
    band.left = Math.min(band.left, left);
    band.right = Math.max(band.right, right);
    band.bottom = y + step - 1;
  };
  const half = width >> 1;
  const planes = [[0, width], [width * height, half], [width * height + half * (height >> 1), half]];
  // Rows of both planes' kinds in the order of the picture: chroma row r belongs to luma rows 2r and 2r + 1.
  const words = width % 8 === 0 ? [new Int32Array(before.buffer), new Int32Array(after.buffer)] : null;
  const [a, b] = words ?? [before, after];
  const unit = words ? 4 : 1;
  const compare = (start, length, y, scale) => {
    let first = start / unit;
    const end = (start + length) / unit;
    while (first < end && a[first] === b[first]) first += 1;
    if (first === end) return;
    let last = end - 1;
    while (a[last] === b[last]) last -= 1;
    note(y, (first * unit - start) * scale, ((last + 1) * unit - start) * scale, 2);
  };
  for (let y = 0; y < height; y += 2) {
    compare(planes[0][0] + y * width, width, y, 1);
    compare(planes[0][0] + (y + 1) * width, width, y, 1);
    compare(planes[1][0] + (y >> 1) * half, half, y, 2);
    compare(planes[2][0] + (y >> 1) * half, half, y, 2);
  }
  return bands.map(({ left, right, top, bottom }) => ({
    x: left & ~1, y: top, width: Math.min(width, (right + 1) & ~1) - (left & ~1), height: Math.min(height, bottom + 1) - top,
  }));
}
