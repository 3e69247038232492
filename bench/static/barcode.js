// SPDX-License-Identifier: Apache-2.0
/** Reads the clock from each picture that the client presents; served behind barcode_reader.js, as one module. */

import { presentedAt } from "/static/frame_stats.js"; // the client's

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
