// SPDX-License-Identifier: Apache-2.0
/** Reads the numbers that bench/guest_programs/barcode.py draws. Whoever serves it puts it in front of a script that uses it. */

const CELL = 16;
const COLUMNS = 16;
const ROWS = 6;
const WIDTH = COLUMNS * CELL;
const HEIGHT = ROWS * CELL;
const MARK = 0xa5c3;
// The middle of a square, away from what the codec does at its edges.
const INSET = 6;

function isWhite({ data, width }, left, top) {
  let sum = 0;
  for (let y = top + INSET; y < top + CELL - INSET; y += 1) {
    for (let x = left + INSET; x < left + CELL - INSET; x += 1) sum += data[4 * (y * width + x) + 1];
  }
  return sum / (CELL - 2 * INSET) ** 2 >= 128;
}

function checksum(words) {
  const total = words.reduce((sum, word, place) => {
    const shift = 3 * place;
    return sum + (((word << shift) | (word >> (16 - shift))) & 0xffff);
  }, 0);
  return ~total & 0xffff;
}

/**
 * @param {ImageData} image
 * @param {number} left where the barcode begins in the image, unscaled
 * @param {number} top
 * @returns {bigint | null} the time in ns; null where there is no barcode, or one of two pictures at once
 */
function readBarcode(image, left = 0, top = 0) {
  if (image.width < left + WIDTH || image.height < top + HEIGHT) return null;
  const rows = [];
  for (let row = 0; row < ROWS; row += 1) {
    let word = 0;
    for (let column = 0; column < COLUMNS; column += 1) {
      word = (word << 1) | isWhite(image, left + column * CELL, top + row * CELL);
    }
    rows.push(word);
  }
  const [mark, ...words] = rows;
  const check = words.pop();
  if (mark !== MARK || check !== checksum(words)) return null;
  return words.reduce((time, word) => (time << 16n) | BigInt(word), 0n);
}
