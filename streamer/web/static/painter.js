// SPDX-License-Identifier: Apache-2.0
/**
 * Paints a video element's pictures into a canvas that lies over it, and of each picture only what differs from the one before.
 *
 * A browser without a GPU converts a video element's whole picture for every frame, on its slowest path; here what changed is
 * found (blocks that the encoder skipped decode to the same bytes) and nothing else is converted
 * (docs/decisions/0015-canvas-without-gpu.md).
 */

import { findDamage } from "./picture_damage.js";

/** Renderers that run on the CPU, as browsers name them. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
/** So long after the last new picture, or the last input, nothing is looked for any more until the browser tells of a picture. */
const IDLE_MS = 1000;

/** Whether this browser can paint by itself. */
export const isPaintingSupported = "VideoFrame" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

/** Whether the browser draws with a GPU; where it does, a video element costs less than any canvas. */
export function hasGpu() {
  const gl = document.createElement("canvas").getContext("webgl");
  if (!gl) return false;
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !SOFTWARE.test(renderer);
}

export class Painter {
  #canvas;
  #context;
  #video;
  #handlers;
  #isLooking = false;
  #isPainting = false;
  #hasFailed = false;
  #movedMs = 0;
  #timestamp = null;
  #before = null;
  #after = null;
  #pixels = null;

  /**
   * Each animation frame takes the newest picture, so that it is on the page with that frame: Chromium holds back other work of the
   * page (the reader of a MediaStreamTrackProcessor, messages of workers) for frames after a press of a key or button.
   *
   * @param {{handlePainted: (rtp: number | undefined) => void, handleFailure: (error: Error) => void}} handlers the latter is
   *   called once, when this browser cannot paint after all; nothing is painted any more then.
   */
  constructor(canvas, video, handlers) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#video = video;
    this.#handlers = handlers;
    const next = () => {
      this.#wake();
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    // Something will come of it.
    for (const type of ["pointerdown", "pointermove", "wheel", "keydown"]) {
      addEventListener(type, () => this.#wake(), { capture: true, passive: true });
    }
  }

  #wake() {
    this.#movedMs = performance.now();
    if (this.#isLooking || this.#hasFailed) return;
    this.#isLooking = true;
    this.#look();
  }

  #look() {
    this.#isLooking = !this.#hasFailed && performance.now() - this.#movedMs < IDLE_MS;
    if (this.#isLooking) requestAnimationFrame(() => this.#look());
    if (this.#isPainting || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const frame = new VideoFrame(this.#video);
    if (frame.timestamp === this.#timestamp) {
      frame.close();
      return;
    }
    this.#timestamp = frame.timestamp;
    this.#movedMs = performance.now();
    this.#isPainting = true;
    // The copies are made before the promises are returned: all is painted when this animation frame ends.
    this.#paint(frame)
      .then(() => this.#handlers.handlePainted(frame.metadata?.().rtpTimestamp))
      .catch((error) => {
        this.#hasFailed = true;
        this.#handlers.handleFailure(error);
      })
      .finally(() => {
        frame.close();
        this.#isPainting = false;
      });
  }

  async #paint(frame) {
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
    [this.#before, this.#after] = [this.#after, this.#before];
  }

  async #convert(frame, rect) {
    const size = 4 * rect.width * rect.height;
    if (!this.#pixels || this.#pixels.byteLength < size) this.#pixels = new ArrayBuffer(size);
    const pixels = new Uint8ClampedArray(this.#pixels, 0, size);
    await frame.copyTo(pixels, { rect, format: "RGBX", colorSpace: "srgb" });
    this.#context.putImageData(new ImageData(pixels, rect.width, rect.height), rect.x, rect.y);
  }
}
