// SPDX-License-Identifier: Apache-2.0
/** The statistics in the corner. Nothing is computed while it is hidden. */

import { STAGES } from "./frame_stats.js";

const TICK_MS = 500;

export class Overlay {
  #element;
  #source;
  #timer = 0;
  #rows = new Map();
  #last = null;

  /** @param {{stats: () => object, report: () => Promise<RTCStatsReport | undefined>}} source */
  constructor(element, source) {
    this.#element = element;
    this.#source = source;
    const list = element.appendChild(document.createElement("dl"));
    for (const name of ["picture", "frames", "bit rate", "target", "round trip", "lost", "sound", "", ...STAGES]) {
      if (!name) {
        list.append(document.createElement("hr"), document.createElement("hr"));
        continue;
      }
      const term = list.appendChild(document.createElement("dt"));
      term.textContent = name;
      this.#rows.set(name, list.appendChild(document.createElement("dd")));
    }
  }

  get isShown() { return !this.#element.hidden; }

  toggle() {
    this.#element.hidden = !this.#element.hidden;
    clearInterval(this.#timer);
    this.#last = null;
    if (this.isShown) {
      this.#timer = setInterval(() => this.#update(), TICK_MS);
      this.#update();
    }
  }

  async #update() {
    const stats = this.#source.stats();
    const report = await this.#source.report();
    const inbound = findInbound(report, "video");
    const sound = findInbound(report, "audio");
    const last = this.#last;
    this.#last = inbound && { ...inbound, soundBytes: sound?.bytesReceived ?? 0 };
    let soundRate = 0;
    let bitrate = stats.bitrateBps;
    if (inbound && last && inbound.id === last.id && inbound.timestamp > last.timestamp) {
      bitrate = ((inbound.bytesReceived - last.bytesReceived) * 8000) / (inbound.timestamp - last.timestamp);
      soundRate = Math.max(0, (this.#last.soundBytes - last.soundBytes) * 8) / (inbound.timestamp - last.timestamp);
    }
    this.#set("picture", `${stats.width}×${stats.height}${stats.divisor > 1 ? ` at 1/${stats.divisor}` : ""}`);
    this.#set("frames", `${stats.fps} /s`);
    this.#set("bit rate", rate(bitrate));
    this.#set("target", rate(stats.targetBps));
    this.#set("round trip", milliseconds(stats.roundTripMs));
    this.#set("lost", inbound ? `${inbound.packetsLost ?? 0} packets` : "–");
    this.#set("sound", soundRate >= 0.5 ? `${Math.round(soundRate)} kb/s` : "–");
    for (const stage of STAGES) {
      const { p50, p95 } = stats.latency[stage];
      this.#set(stage, `${milliseconds(p50)}  p95 ${milliseconds(p95)}`);
    }
  }

  #set(name, text) { this.#rows.get(name).textContent = text; }
}

function findInbound(report, kind) {
  if (!report) return null;
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp" && entry.kind === kind) return entry;
  }
  return null;
}

function rate(bps) {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mb/s` : `${Math.round(bps / 1e3)} kb/s`;
}

function milliseconds(value) {
  return value === null || !Number.isFinite(value) ? "    –   " : `${value.toFixed(1).padStart(5)} ms`;
}
