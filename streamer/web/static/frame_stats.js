// SPDX-License-Identifier: Apache-2.0
/** What became of each frame: the server's trace, joined by RTP timestamp with what the browser says of it. */

const KEPT = 600;
const REPORT_MS = 250;

/** Stages in the order of a frame's way, in milliseconds. */
export const STAGES = ["convert", "handoff", "queue", "encode", "first packet", "send", "network", "decode", "display", "total"];

// A compositor shows what it was given within a few refreshes. Chromium's expectedDisplayTime is off by up to a second, either
// way, for the first picture after a pause: it takes the frame rate for steady.
const MAX_COMPOSITION_MS = 50;

/** Returns when a picture came to the display, or to the compositor where the browser has no good idea; performance.now(). */
export function presentedAt(now, { presentationTime = now, expectedDisplayTime = presentationTime }) {
  const compositionMs = expectedDisplayTime - presentationTime;
  return compositionMs >= 0 && compositionMs <= MAX_COMPOSITION_MS ? expectedDisplayTime : presentationTime;
}

export class FrameStats {
  #clock;
  #send;
  #traces = new Map(); // rtp → trace
  #received = new Map(); // rtp → {receiveMs, decodeMs}
  #shown = new Map(); // rtp → presentMs
  #joined = [];
  #times = []; // when distinct pictures were presented
  #presented = 0;
  #repeats = 0;
  #lastRtp = null;
  #reportedMs = 0;
  #bitrateBps = 0;
  #targetBps = 0;
  #video = null;
  #handle = 0;

  constructor(clock, send) {
    this.#clock = clock;
    this.#send = send;
  }

  /**
   * Watches a video element for as long as the page lives.
   *
   * @param {() => boolean} isShown whether it is what shows the picture; else somebody calls `handleShown()`.
   */
  watch(video, isShown) {
    if (!video.requestVideoFrameCallback) return;
    this.#video = video;
    const next = (now, metadata) => {
      this.#handleFrame(now, metadata, isShown);
      this.#handle = video.requestVideoFrameCallback(next);
    };
    this.#handle = video.requestVideoFrameCallback(next);
  }

  reset() {
    this.#traces.clear();
    this.#received.clear();
    this.#shown.clear();
    this.#joined = [];
    this.#lastRtp = null;
  }

  /** A `frames` message. */
  addTraces({ frames, bitrate_bps, target_bps }) {
    if (Number.isFinite(bitrate_bps)) this.#bitrateBps = bitrate_bps;
    if (Number.isFinite(target_bps)) this.#targetBps = target_bps;
    if (!Array.isArray(frames)) return;
    for (const [rtp, keyframe, bytes, flush, gpuDone, handoff, encodeBegin, encodeEnd, sent, firstSent] of frames) {
      this.#keep(this.#traces, rtp, { keyframe, bytes, flush, gpuDone, handoff, encodeBegin, encodeEnd, sent, firstSent });
      this.#join(rtp);
    }
  }

  #handleFrame(now, metadata, isShown) {
    const rtp = metadata.rtpTimestamp;
    if (rtp === undefined) return;
    const receiveMs = metadata.receiveTime ?? NaN;
    this.#keep(this.#received, rtp, { receiveMs, decodeMs: (metadata.processingDuration ?? NaN) * 1000 });
    if (isShown()) this.handleShown(rtp, presentedAt(now, metadata));
    if (now - this.#reportedMs >= REPORT_MS && Number.isFinite(receiveMs)) {
      this.#reportedMs = now;
      this.#send({ type: "presented", rtp, receive_ms: receiveMs, present_ms: presentedAt(now, metadata) });
    }
  }

  /** A picture has been shown at that time (performance.now()). */
  handleShown(rtp, presentMs) {
    if (rtp === undefined || rtp === this.#lastRtp) return;
    this.#lastRtp = rtp;
    this.#presented += 1;
    this.#times.push(presentMs);
    while (this.#times.length && this.#times[0] < presentMs - 2000) this.#times.shift();
    this.#keep(this.#shown, rtp, presentMs);
    this.#join(rtp);
  }

  #join(rtp) {
    const trace = this.#traces.get(rtp);
    const presentMs = this.#shown.get(rtp);
    if (!trace || presentMs === undefined || this.#clock.offsetMs === null) return;
    this.#shown.delete(rtp);
    if (!trace.flush) {
      this.#repeats += 1;
      return;
    }
    const { receiveMs, decodeMs } = this.#received.get(rtp) ?? { receiveMs: NaN, decodeMs: NaN };
    const sentMs = this.#clock.toLocalMs(trace.sent);
    const decode = Number.isFinite(decodeMs) ? decodeMs : 0;
    this.#joined.push({
      rtp,
      keyframe: Boolean(trace.keyframe),
      bytes: trace.bytes,
      flushMs: this.#clock.toLocalMs(trace.flush),
      presentMs,
      convert: (trace.gpuDone - trace.flush) / 1e6,
      handoff: (trace.handoff - trace.gpuDone) / 1e6,
      queue: (trace.encodeBegin - trace.handoff) / 1e6,
      encode: (trace.encodeEnd - trace.encodeBegin) / 1e6,
      "first packet": (trace.firstSent - trace.encodeEnd) / 1e6,
      send: (trace.sent - trace.firstSent) / 1e6,
      network: receiveMs - sentMs,
      decode,
      display: presentMs - receiveMs - decode,
      total: presentMs - this.#clock.toLocalMs(trace.flush),
    });
    if (this.#joined.length > KEPT) this.#joined.shift();
  }

  #keep(map, rtp, value) {
    map.delete(rtp);
    map.set(rtp, value);
    if (map.size > KEPT) map.delete(map.keys().next().value);
  }

  get bitrateBps() { return this.#bitrateBps; }
  /** What the server believes that the path takes. */
  get targetBps() { return this.#targetBps; }
  /** How many pictures have been presented since the page was opened, without those that only refined the last. */
  get distinct() { return this.#presented - this.#repeats; }
  /** The frames of which everything is known, oldest first. */
  get frames() { return this.#joined.slice(); }

  /** Pictures presented in the last second. */
  get fps() {
    const now = performance.now();
    return this.#times.filter((time) => time > now - 1000).length;
  }

  /** Returns {stage: {p50, p95}} in ms over the frames of the last `spanMs`, null where nothing is known. */
  latency(spanMs = 5000) {
    const since = performance.now() - spanMs;
    const frames = this.#joined.filter(({ presentMs }) => presentMs > since);
    return Object.fromEntries(STAGES.map((stage) => {
      const values = frames.map((frame) => frame[stage]).filter(Number.isFinite).sort((a, b) => a - b);
      return [stage, { p50: quantile(values, 0.5), p95: quantile(values, 0.95) }];
    }));
  }
}

function quantile(sorted, share) {
  if (!sorted.length) return null;
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
