// SPDX-License-Identifier: Apache-2.0
/** Where the guest's picture is on the page: fits it in, crops what the codec padded, and maps points back. */

/** Geometry without the page, in CSS pixels; exported for tests. The video has one pixel for `divisor` of the guest's each way. */
export function fit(stageWidth, stageHeight, width, height, dpr, divisor = 1) {
  let scale = Math.min(stageWidth / width, stageHeight / height);
  // One pixel of the video on one device pixel is sharp: take it when it fits within a pixel of rounding.
  const exact = 1 / (dpr * divisor);
  if (Math.abs(scale - exact) * Math.max(width, height) <= 1.5) scale = exact;
  const snap = (value) => Math.round(value * dpr) / dpr;
  return {
    scale,
    left: Math.max(0, snap((stageWidth - width * scale) / 2)),
    top: Math.max(0, snap((stageHeight - height * scale) / 2)),
    width: width * scale,
    height: height * scale,
  };
}

export class Screen extends EventTarget {
  #stage;
  #frame;
  #video;
  #still;
  #isPainted;
  #canvas;
  #size = { width: 1280, height: 720, codedWidth: 1280, codedHeight: 720, divisor: 1 };
  #isKnown = false;

  /** @param {boolean} isPainted whether somebody paints the picture into the canvas, which lies over the video then */
  constructor(stage, frame, { video, canvas, still }, isPainted = false) {
    super();
    this.#stage = stage;
    this.#frame = frame;
    this.#video = video;
    this.#still = still;
    this.#canvas = canvas;
    this.#isPainted = isPainted;
    canvas.hidden = !isPainted;
    new ResizeObserver(() => this.layout()).observe(stage);
    // A page zoom or another monitor changes the ratio without changing the stage in every case.
    const watchRatio = () => {
      matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => {
        this.layout();
        watchRatio();
      }, { once: true });
    };
    watchRatio();
    this.layout();
  }

  get width() { return this.#size.width; }
  get height() { return this.#size.height; }
  /** How many of the guest's pixels, each way, one of the video's shows: more than 1 where the guest's screen is too large for a video. */
  get divisor() { return this.#size.divisor; }
  /** CSS pixels of one guest pixel. */
  get scale() { return this.#frame.getBoundingClientRect().width / this.#size.width; }
  /** Whether a canvas shows the picture, not the video element. */
  get isPainted() { return this.#isPainted; }
  /** Nobody paints any more. */
  showVideo() {
    this.#isPainted = false;
    this.#canvas.hidden = true;
  }

  /** What shows the picture. */
  get #source() { return this.#isPainted ? this.#canvas : this.#video; }

  /** Sets the guest's true size, the coded size of the stream, and how much smaller that shows it. */
  setSize(width, height, codedWidth, codedHeight, divisor = 1) {
    const sizes = [width, height, codedWidth, codedHeight, divisor];
    if (!sizes.every((value) => Number.isInteger(value) && value > 0 && value <= 16384)) return;
    const padded = (pixels, coded) => Math.max(Math.ceil(pixels / divisor), coded);
    this.#size = {
      width, height, codedWidth: padded(width, codedWidth), codedHeight: padded(height, codedHeight), divisor,
    };
    this.#isKnown = true;
    this.layout();
  }

  setTrack(track) {
    this.#video.srcObject = new MediaStream([track]);
    this.#video.play().catch((error) => {
      if (error.name === "NotAllowedError") this.dispatchEvent(new Event("blocked"));
    });
  }

  /** Keeps the last picture on the page: a stream that ends leaves a black one. */
  hold() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth || !this.#still.hidden) return;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    this.#still.getContext("2d").drawImage(this.#source, 0, 0);
    this.#still.hidden = false;
  }

  /** Shows the stream again. */
  release() { this.#still.hidden = true; }

  layout() {
    const { width, height, codedWidth, codedHeight, divisor } = this.#size;
    const box = fit(this.#stage.clientWidth, this.#stage.clientHeight, width, height, devicePixelRatio, divisor);
    Object.assign(this.#frame.style, {
      left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height}px`,
    });
    for (const { style } of [this.#video, this.#canvas, this.#still]) {
      style.width = `${codedWidth * divisor * box.scale}px`;
      style.height = `${codedHeight * divisor * box.scale}px`;
    }
    this.#frame.style.visibility = this.#isKnown ? "visible" : "hidden";
    this.dispatchEvent(new Event("layout"));
  }

  /** Returns the guest's pixel below a point of the page, clamped to the screen. */
  toGuest(clientX, clientY) {
    const box = this.#frame.getBoundingClientRect();
    const { width, height } = this.#size;
    // A hair more than the exact value, so that 0.1 * 10 is not below 1.
    const pixel = (offset, length, count) =>
      Math.min(count - 1, Math.max(0, Math.floor((offset / length) * count + 1e-6)));
    return { x: pixel(clientX - box.left, box.width, width), y: pixel(clientY - box.top, box.height, height) };
  }
}
