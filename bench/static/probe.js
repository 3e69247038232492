// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the guest's clock in every animation frame from the page's largest video or canvas, whoever's page it is. Put into the page
 * before its own scripts, behind barcode_reader.js.
 *
 * `IS_CROPPED`, a constant in front of this: see draw().
 *
 * A picture counts when it is read for the first time. The read is the last thing that runs in its frame: a page that paints its
 * canvas in an animation frame of its own is read in that frame, not in the next one.
 */

const CLICKS_TOP = HEIGHT + CELL;
const request = window.requestAnimationFrame.bind(window);
const cancel = window.cancelAnimationFrame.bind(window);
let ours = 0;
let isInFrame = false;

window.requestAnimationFrame = (callback) => {
  const id = request((now) => {
    isInFrame = true;
    callback(now);
  });
  // In a frame, ours is still to come and puts itself behind what was asked for meanwhile.
  if (!isInFrame && ours) {
    cancel(ours);
    ours = request(read);
  }
  return id;
};

const canvas = new OffscreenCanvas(WIDTH, CLICKS_TOP + HEIGHT);
const context = canvas.getContext("2d", { willReadFrequently: true });

const probe = {
  /** [guest's clock in ms, begin of the frame, end of the read], the latter two performance.now(); one a distinct picture. */
  samples: [],
  /** [event's time stamp, end of the read in which it was seen or null], in the order of the clicks. */
  clicks: [],
  frames: 0,
  unreadable: 0,
  clockMs: 0,
  seen: new Set(),

  take() {
    const { samples, frames, unreadable } = this;
    Object.assign(this, { samples: [], frames: 0, unreadable: 0 });
    return { samples, frames, unreadable };
  },

  /** Returns what is read: its size in its own pixels and on the page. */
  shown() {
    const screen = largest();
    if (!screen) return null;
    const { left, top, width, height } = screen.getBoundingClientRect();
    return {
      kind: screen.localName, width: widthOf(screen), height: screen.videoHeight ?? screen.height,
      left, top, shownWidth: width, shownHeight: height,
    };
  },
};
window.probe = probe;

const widthOf = (screen) => screen.videoWidth ?? screen.width;

function largest() {
  let found = null;
  let most = 0;
  for (const screen of document.querySelectorAll("video, canvas")) {
    const { width, height } = screen.getBoundingClientRect();
    // Of two that lie over each other, the later one is in front.
    if (width * height >= most && width * height > 0 && widthOf(screen) > 0) {
      found = screen;
      most = width * height;
    }
  }
  return found;
}

/**
 * Draws the barcodes' part. Without a GPU drawImage(video) converts the whole picture to RGB, for milliseconds, as the browser does
 * once more to show it; cropped, it converts that part alone.
 */
function draw(screen) {
  const height = CLICKS_TOP + HEIGHT;
  if (screen.localName === "canvas" || !IS_CROPPED) {
    context.drawImage(screen, 0, 0, WIDTH, height, 0, 0, WIDTH, height);
    return;
  }
  const frame = new VideoFrame(screen);
  const { x, y, width: frameWidth, height: frameHeight } = frame.visibleRect;
  const part = new VideoFrame(frame, {
    visibleRect: { x, y, width: Math.min(WIDTH, frameWidth), height: Math.min(height, frameHeight) },
  });
  context.drawImage(part, 0, 0);
  part.close();
  frame.close();
}

function read(now) {
  isInFrame = false;
  ours = request(read);
  probe.frames += 1;
  const screen = document.body && largest();
  if (!screen || screen.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
  draw(screen);
  const image = context.getImageData(0, 0, WIDTH, CLICKS_TOP + HEIGHT);
  const readMs = performance.now();
  const clockNs = readBarcode(image);
  if (clockNs === null) {
    probe.unreadable += 1;
  } else if (!probe.seen.has(clockNs)) {
    probe.seen.add(clockNs);
    probe.clockMs = Number(clockNs) / 1e6;
    probe.samples.push([probe.clockMs, now, readMs]);
  }
  const clicks = readBarcode(image, 0, CLICKS_TOP);
  if (clicks === null) return;
  for (let index = 0; index < Math.min(Number(clicks), probe.clicks.length); index += 1) probe.clicks[index][1] ??= readMs;
}
ours = request(read);

// The first listener that hears of it; some pages take pointer events so that no mouse event comes.
let lastMs = -1;
const noteClick = ({ timeStamp }) => {
  if (timeStamp === lastMs) return;
  lastMs = timeStamp;
  probe.clicks.push([timeStamp, null]);
};
for (const type of ["pointerdown", "mousedown"]) window.addEventListener(type, noteClick, { capture: true });
