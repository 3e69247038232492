// SPDX-License-Identifier: Apache-2.0
/**
 * Paints a track's pictures into a canvas, and of each picture only what differs from the one before.
 *
 * A browser without a GPU converts a video element's whole picture for every frame, on its slowest path; here what changed is
 * found (blocks that the encoder skipped decode to the same bytes) and nothing else is converted
 * (docs/decisions/0015-canvas-without-gpu.md).
 */

/** Damaged rows that are this far apart are converted apart. */
const BAND_GAP = 64;

/** Whether this browser can paint by itself. */
export const isPaintingSupported = "MediaStreamTrackProcessor" in window && "VideoFrame" in window;

/** Renderers that run on the CPU, as browsers name them. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** Whether the browser draws with a GPU; where it does, a video element costs less than any canvas. */
export function hasGpu() {
  const gl = document.createElement("canvas").getContext("webgl");
  if (!gl) return false;
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !SOFTWARE.test(renderer);
}

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

export class Painter {
  #canvas;
  #context;
  #reader = null;
  #before = null;
  #after = null;
  #pixels = null;
  #handlePainted;

  /** @param {(rtp: number | undefined) => void} handlePainted called when a picture is on the canvas, with its RTP time */
  constructor(canvas, handlePainted) {
    this.#canvas = canvas;
    this.#handlePainted = handlePainted;
    this.#context = canvas.getContext("2d", { alpha: false });
  }

  /** Paints until the track ends or another one is painted. Rejects when the browser cannot go on. */
  async paint(track) {
    this.#reader?.cancel().catch(() => {});
    // The newest picture replaces one that waits.
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
    this.#reader = reader;
    this.#before = null;
    while (this.#reader === reader) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      try {
        if (this.#reader === reader) {
          await this.#show(frame);
          this.#handlePainted(frame.metadata?.().rtpTimestamp);
        }
      } finally {
        frame.close();
      }
    }
  }

  async #show(frame) {
    const { format, visibleRect: { width, height } } = frame;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#before = null;
    }
    if (format !== "I420" || width % 2 || height % 2) {
      this.#before = null;
      this.#context.drawImage(frame, 0, 0);
      return;
    }
    const size = (width * height * 3) / 2;
    if (this.#after?.length !== size) this.#after = new Uint8Array(size);
    await frame.copyTo(this.#after);
    const whole = [{ x: 0, y: 0, width, height }];
    for (const rect of this.#before ? findDamage(this.#before, this.#after, width, height) : whole) {
      await this.#convert(frame, rect);
    }
    const spare = this.#before;
    this.#before = this.#after;
    this.#after = spare;
  }

  async #convert(frame, rect) {
    const size = 4 * rect.width * rect.height;
    if (!this.#pixels || this.#pixels.byteLength < size) this.#pixels = new ArrayBuffer(size);
    const pixels = new Uint8ClampedArray(this.#pixels, 0, size);
    await frame.copyTo(pixels, { rect, format: "RGBX", colorSpace: "srgb" });
    this.#context.putImageData(new ImageData(pixels, rect.width, rect.height), rect.x, rect.y);
  }
}
