// SPDX-License-Identifier: Apache-2.0
/** Reads the clock that bench/guest_programs/barcode.py draws. */

import { presentedAt } from "/static/frame_stats.js"; // the client's

export const CELL = 16;
export const COLUMNS = 16;
export const ROWS = 6;
export const WIDTH = COLUMNS * CELL;
export const HEIGHT = ROWS * CELL;
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
export function readBarcode(image, left = 0, top = 0) {
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

/**
 * Reads the pictures that the page presents, for as long as the page lives. One that has been replaced by the time that the page
 * hears of it is left out: the video has the next one's pixels then.
 *
 * @param {HTMLVideoElement} video a stream whose guest has the barcode at its left upper corner
 * @param {(sample: {clockNs: bigint | null, rtp: number, presentMs: number, nowMs: number}) => void} take
 *   `presentMs` is when the picture came to the display, as the client counts it, `nowMs` when the page was told; both performance.now()
 */
export function watchBarcodes(video, take) {
  const canvas = new OffscreenCanvas(WIDTH, HEIGHT);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const look = (now, metadata) => {
    video.requestVideoFrameCallback(look);
    const frame = new VideoFrame(video);
    const isTold = Math.abs(frame.timestamp - metadata.mediaTime * 1e6) < 1000;
    if (isTold) context.drawImage(frame, 0, 0, WIDTH, HEIGHT, 0, 0, WIDTH, HEIGHT);
    frame.close();
    if (!isTold) return;
    const clockNs = readBarcode(context.getImageData(0, 0, WIDTH, HEIGHT));
    take({ clockNs, rtp: metadata.rtpTimestamp, presentMs: presentedAt(now, metadata), nowMs: now });
  };
  video.requestVideoFrameCallback(look);
}
